"""`kiteline ca`: the consortium's certificate authority, in a directory of its own. No node and no chain is needed."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from crypto.certificates.certificate import Certificate, read_certificates
from crypto.certificates.chain import expires_in, validate
from crypto.certificates.issuing import member_name
from crypto.certificates.names import Name
from crypto.certificates.request import CertificateRequest
from crypto.certificates.revocation import RevocationReason, read_revocation_lists
from crypto.credit_code import check_credit_code
from crypto.engine import load_engine
from crypto.errors import CertificateRequestInvalid, Refusal
from node.cli.errors import WrongUsage
from node.cli.output import Exit, Output, table, write_file
from node.cli.session import JSONOption, passphrase, reporting
from node.errors import FileUnusable
from node.stores import authority as store

app = typer.Typer(
    no_args_is_help=True, help="The consortium's certificate authority: issue, revoke and verify certificates with SM2."
)

MAX_FILE_BYTES = 32 * 1024 * 1024  # bytes; a revocation list in PEM
ROOT_DAYS, CERTIFICATE_DAYS, LIST_DAYS = 3_650, 730, 30
StateOption = Annotated[Path, typer.Option("--dir", help="Directory of the authority, from `kiteline ca create`.")]
DaysOption = Annotated[int, typer.Option(min=1, max=36_500, help="Days that it is valid.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="File to write the PEM to. Default: standard output.")]
DEFAULT_DIRECTORY = Path("ca")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@app.command(epilog='Example: kiteline ca create ca --subject "CN=鸢链根证书,O=潍坊市大数据局,C=CN"')
def create(
    directory: Annotated[Path, typer.Argument(help="Directory to make the authority in; absent or empty.")],
    subject: Annotated[str, typer.Option(help="Its name, the most particular part first: CN=…,O=…,C=CN.")],
    under: Annotated[Path | None, typer.Option(help="Directory of the authority above it. Default: a root.")] = None,
    days: DaysOption = ROOT_DAYS,
    path_length: Annotated[
        int | None,
        typer.Option(min=0, max=8, help="Authorities that may follow below it. Default: any for a root, else none."),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Make a certificate authority: its key, encrypted, and its certificate. One under another has the same passphrase."""
    with reporting(as_json=as_json) as output, ExitStack() as held:
        engine, secret, name = load_engine(), passphrase(), Name.parse(subject)
        above = held.enter_context(store.acting(under, engine, secret)) if under is not None else None
        length = 0 if above is not None and path_length is None else path_length
        made = store.create(
            directory, name, engine, secret, at=_now(), days=days, random=os.urandom, under=above, path_length=length
        )
        output.result({"directory": str(directory), **_document(made.certificate)})
        output.note(f"Members get {directory / store.CHAIN}; nobody gets {directory / store.KEY}.")


@app.command(epilog="Example: kiteline ca sign signing.csr --kind signing --dir ca --out signing.crt")
def sign(
    request: Annotated[Path, typer.Argument(help="File with a request for a certificate (PKCS#10, PEM).")],
    kind: Annotated[str, typer.Option(help="What its key is for: signing or encryption.")],
    subject: Annotated[
        str | None, typer.Option(help="The name to write. Default: the one that the request has.")
    ] = None,
    days: DaysOption = CERTIFICATE_DAYS,
    directory: StateOption = DEFAULT_DIRECTORY,
    out: OutOption = None,
    as_json: JSONOption = False,
) -> None:
    """Issue a certificate for a request that the key in it has signed."""
    with reporting(as_json=as_json) as output:
        if kind not in {store.SIGNING_KIND, store.ENCRYPTION_KIND}:
            raise WrongUsage(f"--kind is {store.SIGNING_KIND} or {store.ENCRYPTION_KIND}, not {kind}")
        engine = load_engine()
        asked = CertificateRequest.from_pem(_read(request))
        asked.check_possession(engine)
        name = asked.subject if subject is None else Name.parse(subject)
        with store.acting(directory, engine, passphrase()) as authority:
            made = authority.issue(kind, name, asked.public_key, at=_now(), days=days, random=os.urandom)
        _hand_out(output, made.to_pem(), out, _document(made))


@app.command(epilog="Example: kiteline ca enrol 11370700MB2345678X signing.csr encryption.csr --dir ca --out pair.pem")
def enrol(
    member_id: Annotated[str, typer.Argument(help="The member's credit code; both requests name it as serialNumber.")],
    signing: Annotated[Path, typer.Argument(help="File with the request for its signing key.")],
    encryption: Annotated[
        Path, typer.Argument(help="File with the request for its encryption key, signed by that key.")
    ],
    organisation: Annotated[str | None, typer.Option(help="Its name in words, for the certificates.")] = None,
    days: DaysOption = CERTIFICATE_DAYS,
    directory: StateOption = DEFAULT_DIRECTORY,
    out: OutOption = None,
    as_json: JSONOption = False,
) -> None:
    """Issue a member's pair, one certificate for signatures and one for encryption. What else the requests claim is left out."""
    with reporting(as_json=as_json) as output:
        member, engine = check_credit_code(member_id), load_engine()
        kinds = {store.SIGNING_KIND: signing, store.ENCRYPTION_KIND: encryption}
        asked = {kind: CertificateRequest.from_pem(_read(file)) for kind, file in kinds.items()}
        for kind, one in asked.items():
            one.check_possession(engine)
            if one.subject.values("serialNumber") != (member,):
                raise CertificateRequestInvalid(
                    f"the request for {kind} does not name {member} as its one serialNumber"
                )
        if len({one.public_key for one in asked.values()}) != len(asked):
            raise CertificateRequestInvalid("both requests are for one key; the pair takes two")
        names = {kind: member_name(member, f"{member} {kind}", organisation) for kind in asked}
        with store.acting(directory, engine, passphrase()) as authority:
            pair = [
                authority.issue(kind, names[kind], one.public_key, at=_now(), days=days, random=os.urandom)
                for kind, one in asked.items()
            ]
        document = {kind: _document(one) for kind, one in zip(asked, pair, strict=True)}
        _hand_out(output, b"".join(one.to_pem() for one in pair), out, {"member": member, **document})


@app.command(epilog="Example: kiteline ca revoke 5cbd2112c66c7deb --reason keyCompromise --dir ca")
def revoke(
    serial: Annotated[str, typer.Argument(help="Its serial number, hexadecimal, from `kiteline ca list`.")],
    reason: Annotated[
        str,
        typer.Option(
            help="One of unspecified, keyCompromise, CACompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn."
        ),
    ],
    date: Annotated[
        str | None, typer.Option(help="Since when it does not hold, as 2026-11-24T08:00:00Z. Default: now.")
    ] = None,
    directory: StateOption = DEFAULT_DIRECTORY,
    as_json: JSONOption = False,
) -> None:
    """Revoke a certificate, for good. Others learn of it from the next list: `kiteline ca crl`."""
    with reporting(as_json=as_json) as output:
        try:
            number, why = int(serial, 16), RevocationReason(reason)
        except ValueError as cause:
            raise WrongUsage(f"the serial number {serial!r} or the reason {reason!r} is none") from cause
        with store.acting(directory, load_engine(), passphrase()) as authority:
            done = authority.revoke(number, why, _time(date))
        output.result({"serial": f"{done.serial:x}", "reason": done.reason.value, "date": done.date.isoformat()})
        output.note("Hand a new list out now: kiteline ca crl")


@app.command(epilog="Example: kiteline ca crl --dir ca --out ca.crl")
def crl(
    days: Annotated[int, typer.Option(min=1, max=366, help="Days until the next list at the latest.")] = LIST_DAYS,
    directory: StateOption = DEFAULT_DIRECTORY,
    out: OutOption = None,
    as_json: JSONOption = False,
) -> None:
    """Sign the list of the certificates that are revoked."""
    with reporting(as_json=as_json) as output:
        with store.acting(directory, load_engine(), passphrase()) as authority:
            made = authority.make_list(_now(), days)
        document = {"issuer": str(made.issuer), "number": made.number, "next_update": made.next_update.isoformat()}
        _hand_out(output, made.to_pem(), out, {**document, "revoked": len(made.revoked)})


@app.command("list", epilog="Example: kiteline ca list --dir ca --expiring 60")
def show(
    expiring: Annotated[int | None, typer.Option(min=0, help="Only valid ones that end within so many days.")] = None,
    directory: StateOption = DEFAULT_DIRECTORY,
    as_json: JSONOption = False,
) -> None:
    """List the certificates that were issued. Needs no passphrase."""
    with reporting(as_json=as_json) as output:
        at = _now()
        issued = store.Authority(directory, load_engine()).issued
        if expiring is not None:
            soon = timedelta(days=expiring)
            issued = tuple(
                one for one in issued if one.state(at) == "valid" and expires_in(one.certificate, at) <= soon
            )
        rows = [{**_document(one.certificate), "kind": one.kind, "state": one.state(at)} for one in issued]
        names = ["serial", "subject", "kind", "not_before", "not_after", "state"]
        cells = [[row[name] for name in names] for row in rows]
        titles = [name.replace("_", " ") for name in names]
        output.result({"certificates": rows}, table(f"Certificates of {directory}", titles, cells, folds=["subject"]))


@app.command(epilog="Example: kiteline ca verify signing.crt --trusted ca/chain.pem --crl ca.crl")
def verify(
    certificates: Annotated[
        list[Path],
        typer.Argument(help="Files with a certificate each; more in a file may help to reach a trusted one."),
    ],
    trusted: Annotated[list[Path], typer.Option(help="File with certificates that are trusted; may be repeated.")],
    crl: Annotated[
        list[Path] | None, typer.Option(help="File with revocation lists; with one, every issuer needs its own.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="The time that is asked about, as 2026-11-24T08:00:00Z. Default: now.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Check certificates link by link up to a trusted one. Exit code 4 if any does not hold."""
    with reporting(as_json=as_json) as output:
        engine, moment = load_engine(), _time(at)
        anchors = [one for file in trusted for one in read_certificates(_read(file))]
        lists = None if not crl else [one for file in crl for one in read_revocation_lists(_read(file))]
        rows: list[dict[str, object]] = []
        for file in certificates:
            row: dict[str, object] = {"file": str(file), "holds": False, "subject": "", "reason": "", "message": ""}
            rows.append(row)
            try:
                chain = read_certificates(_read(file))
                row["subject"] = str(chain[0].subject)
                path = validate(engine, chain, anchors, at=moment, crls=lists)
                row |= {"holds": True, "message": " < ".join(str(one.subject) for one in path)}
            except Refusal as refusal:
                row |= {"reason": refusal.reason, "message": str(refusal)}
        document = {"at": moment.isoformat(), "holds": all(row["holds"] for row in rows), "certificates": rows}
        columns = ["file", "holds", "reason", "message"]
        cells = [[row[name] for name in columns] for row in rows]
        output.result(document, table("Certificates", columns, cells, folds=["message"]))
        if lists is None:
            output.note("Revocation was not asked about: give --crl.")
        if not document["holds"]:
            raise typer.Exit(Exit.DOES_NOT_HOLD)


def _document(certificate: Certificate) -> dict[str, object]:
    return {
        "serial": f"{certificate.serial:x}",
        "subject": str(certificate.subject),
        "issuer": str(certificate.issuer),
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "digest": certificate.digest().hex(),
    }


def _hand_out(output: Output, pem: bytes, out: Path | None, document: dict[str, object]) -> None:
    """A PEM, into the file or to the screen. Scripts get it in the document."""
    if out is not None:
        write_file(out, pem)
        output.result({**document, "file": str(out)})
    elif output.as_json:
        output.result({**document, "pem": pem.decode()})
    else:
        typer.echo(pem.decode(), nl=False)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as cause:
        raise FileUnusable(f"{file} cannot be read: {cause.strerror}", path=file) from cause
    if len(content) > MAX_FILE_BYTES:
        raise FileUnusable(f"{file} has more than {MAX_FILE_BYTES:,} bytes", path=file)
    return content


def _time(text: str | None) -> datetime:
    if text is None:
        return _now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError as cause:
        raise WrongUsage(f"{text!r} is no time such as 2026-11-24T08:00:00Z") from cause
    if at.utcoffset() is None:
        raise WrongUsage(f"{text!r} names no zone; 2026-11-24T08:00:00Z is UTC")
    return at.astimezone(UTC).replace(microsecond=0)
