"""`kiteline keys`: the key store of this node, and its rotations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kiteline.keys.v1 import keys_pb2 as pb
from node.cli import agent
from node.cli.connection import connected
from node.cli.errors import WrongUsage
from node.cli.output import Output, spoken, table, write_file
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, key_means, reporting, settings_of
from node.errors import FileUnusable
from node.keys.store import SECURITY
from node.model.keys import Kind
from node.model.lines import read_time, write_time

if TYPE_CHECKING:
    from node.keys.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="List, rotate and recover this node's keys.")
app.add_typer(agent.app, name="agent")


@app.command("list", epilog="Example: kiteline keys list")
def list_keys(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """List the keys with their states, and the rotation under way. Needs no passphrase and no running node."""
    with reporting(as_json=as_json) as output:
        from node.app.keys import opened_agent  # noqa: PLC0415 - opens libraries that most commands do without
        from node.keys.store import read_manifest  # noqa: PLC0415 - likewise

        settings = settings_of(config)
        own = read_manifest(settings.keys_directory)
        with opened_agent(settings) as keeper:
            _show(output, *([own] if keeper is None else [keeper.manifest, own]))


@app.command("adopt", epilog="Example: kiteline keys adopt renewed/keys")
def adopt(
    renewed: Annotated[Path, typer.Argument(help="`keys` directory that `kiteline init` made for the same member.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Take over keys that the council has put in force for this member. The node must be stopped; both stores have one passphrase."""
    with reporting(as_json=as_json) as output:
        from node.keys.store import KeyStore  # noqa: PLC0415 - likewise

        settings = settings_of(config)
        means = key_means(settings.engine)
        with (
            KeyStore.open(renewed, means, exclusive=False) as other,
            KeyStore.open(settings.keys_directory, means) as own,
        ):
            _show(output, own.adopt(other))
        output.note("Start the node; the keys that were replaced retire by themselves.")


@app.command("request", epilog="Example: kiteline keys request --to requests")
def request_certificates(
    to: Annotated[Path, typer.Option(help="Directory to write signing.csr and encryption.csr to.")],
    following: Annotated[
        bool, typer.Option("--next", help="For the key that a held rotation has made, in place of the active one.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Write requests for certificates (PKCS#10) of the signing and the encryption key, each signed by the key that it is for."""
    with reporting(as_json=as_json) as output:
        from crypto.certificates.issuing import member_name  # noqa: PLC0415 - likewise
        from crypto.certificates.request import make_request  # noqa: PLC0415 - likewise
        from node.keys.store import KeyStore  # noqa: PLC0415 - likewise

        settings = settings_of(config)
        written: dict[str, object] = {"member": settings.member_id}
        try:
            to.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise FileUnusable(f"{to} cannot be made: {cause.strerror}", path=to) from cause
        with KeyStore.open(settings.keys_directory, key_means(settings.engine), exclusive=False) as store:
            for kind in (Kind.SIGNING, Kind.ENCRYPTION):
                made = store.manifest.next() if following else None
                record = made if made is not None and made.kind is kind else store.manifest.active(kind)
                key = store.signer(record.number) if kind is Kind.SIGNING else store.decrypter(record.number)
                name = member_name(settings.member_id, f"{settings.member_id} {kind}", settings.name)
                write_file(to / f"{kind}.csr", make_request(key, name))
                written[kind.value] = {"number": record.number, "file": str(to / f"{kind}.csr")}
        output.result(written)
        output.note("Hand both to the certificate authority: kiteline ca enrol MEMBER_ID signing.csr encryption.csr")


KindArgument = Annotated[Kind, typer.Argument(help="Which key.", show_default=False)]


@app.command("rotate", epilog="Example: kiteline keys rotate signing --drill; kiteline keys rotate signing")
def rotate(
    kind: KindArgument,
    drill: Annotated[bool, typer.Option("--drill", help="Do everything but commit, and take it back.")] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Stop at the commit point, for `commit` or `undo`.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Put a new key in another's place while the node runs."""
    with reporting(as_json=as_json) as output, connected(config, SECURITY) as client:
        if drill and hold:
            raise WrongUsage("a drill holds at nothing: give --drill or --hold")
        mode = pb.ROTATION_MODE_DRILL if drill else pb.ROTATION_MODE_HOLD if hold else pb.ROTATION_MODE_THROUGH
        request = pb.RotateKeyRequest(kind=_number(kind), mode=mode)
        _tell_outcome(output, f"rotate {kind}", client.keys.RotateKey(request), drill=drill)


@app.command("commit", epilog="Example: kiteline keys commit")
def commit(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Carry out the rotation that was held."""
    with reporting(as_json=as_json) as output, connected(config, SECURITY) as client:
        _tell_outcome(output, "commit", client.keys.CommitRotation(pb.CommitRotationRequest()))


@app.command("undo", epilog="Example: kiteline keys undo")
def undo(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Take back the rotation under way; until its commit point nothing has changed."""
    with reporting(as_json=as_json) as output, connected(config, SECURITY) as client:
        _outcome(output, client.keys.UndoRotation(pb.UndoRotationRequest()).outcome)


@app.command("compromise", epilog="Example: kiteline keys compromise signing --since 2026-11-24T01:00:00.000Z")
def compromise(
    kind: KindArgument,
    since: Annotated[str, typer.Option(help="Since when it may be in others' hands, as 2026-11-24T01:00:00.000Z.")],
    number: Annotated[
        int, typer.Option(min=0, help="A key that was replaced already, by its number. Default: the one in use.")
    ] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Replace a key at once, declare it compromised on the chain, and list everything it had a part in since then."""
    with reporting(as_json=as_json) as output, connected(config, SECURITY) as client:
        request = pb.DeclareCompromiseRequest(
            kind=_number(kind), since_seconds=read_time(since) // 1_000, number=number
        )
        declared, entries = pb.Declaration(), []
        with output.progress(f"compromise {kind}", None) as bar:
            for response in client.keys.DeclareCompromise(request):
                match response.WhichOneof("content"):
                    case "progress":
                        bar.to(response.progress.done, response.progress.total or None)
                    case "declaration":
                        declared = response.declaration
                    case _:
                        entries.append(response.entry)
        document = {
            "kind": kind.value,
            "old_number": declared.old_number,
            "new_number": declared.new_number,
            "epochs": list(declared.epochs),
            "transactions": [digest.hex() for digest in declared.transaction_hashes],
            "entries": [
                {
                    "index": one.index,
                    "time": write_time(one.time_ms),
                    "event": one.event,
                    "subject": one.subject,
                    "note_digest": one.note_digest.hex(),
                }
                for one in entries
            ],
        }
        rows = [[one.index, write_time(one.time_ms), one.event, one.subject, one.note_digest.hex()] for one in entries]
        title = f"What {kind} {declared.old_number} had a part in since {since}"
        output.result(document, table(title, ["entry", "time", "event", "subject", "note"], rows, right=["entry"]))
        output.note(
            f"{kind} {declared.new_number} is in use; {kind} {declared.old_number} is declared compromised on the chain. "
            f"{len(entries)} entries of the log are to be looked at."
        )


def _number(kind: Kind) -> str:
    """As protobuf takes an enumeration by name."""
    return f"KEY_KIND_{kind.name}"


def _tell_outcome(
    output: Output, title: str, responses: Iterator[pb.RotateKeyResponse], *, drill: bool = False
) -> None:
    outcome = pb.Outcome()
    with output.progress(title, None) as bar:
        for response in responses:
            if response.WhichOneof("content") == "progress":
                bar.to(response.progress.done, response.progress.total or None)
            else:
                outcome = response.outcome
    _outcome(output, outcome, drill=drill)


def _outcome(output: Output, outcome: pb.Outcome, *, drill: bool = False) -> None:
    name = pb.KeyKind.Name(outcome.kind).removeprefix("KEY_KIND_").lower().replace("_", "-")
    document = {
        "kind": name,
        "number": outcome.number,
        "step": outcome.step,
        "report": list(outcome.report),
        "drill": drill,
    }
    text = "\n".join([f"{name} {outcome.number}: {outcome.step}", *(f"  {sentence}" for sentence in outcome.report)])
    output.result(document, spoken(text))
    if outcome.step == "prepared":
        output.note("`kiteline keys commit` carries it out; `kiteline keys undo` takes it back.")


def _show(output: Output, *manifests: Manifest) -> None:
    rotation = next((one.rotation for one in manifests if one.rotation is not None), None)
    keys = [one for manifest in manifests for one in manifest.keys]
    member_id = manifests[0].member_id
    document = {
        "member": member_id,
        "keys": [
            {
                "kind": one.kind.value,
                "number": one.number,
                "state": one.state.value,
                "digest": one.digest.hex(),
                "since": write_time(one.since_ms),
            }
            for one in keys
        ],
        "rotation": rotation
        and {
            "kind": rotation.kind.value,
            "number": rotation.number,
            "step": rotation.step.value,
            "mode": rotation.mode.value,
            "begun": write_time(rotation.begun_ms),
        },
    }
    rows = [[one.kind, one.number, one.state, write_time(one.since_ms), one.digest.hex()] for one in keys]
    output.result(
        document,
        table(f"Keys of {member_id}", ["kind", "number", "state", "since", "digest"], rows, right=["number"]),
    )
    if rotation is not None:
        output.note(
            f"The rotation to {rotation.kind} {rotation.number} is {rotation.step}; `kiteline keys commit` ends it, `kiteline keys undo` takes it back."
        )
