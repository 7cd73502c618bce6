"""`kiteline ca` and `kiteline keys request`: from a root to a member's pair and its revocation, read by `openssl` at every step."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.app.settings import FILE_NAME, dump
from node.cli.output import Exit
from tests.node.app.settings_reference import complete
from tests.node.cli.desk import PASSPHRASE, furnish, kiteline
from tests.node.rpc.world import PROVIDER

SECRET = {"KITELINE_PASSPHRASE": PASSPHRASE.decode()}
LATER = "2036-01-01T00:00:00Z"
EARLIER = "2020-01-01T00:00:00Z"


class Office:
    """A directory in which the commands of one consortium are run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "member"
        self.home.mkdir()
        furnish(self.home)
        settings = replace(complete(self.home), member_id=PROVIDER, key_agent=None)
        (self.home / FILE_NAME).write_text(dump(settings, self.home), encoding="utf-8")

    def run(self, *arguments: str, code: Exit = Exit.DONE) -> Any:  # noqa: ANN401 - a JSON document
        """A command's document; it must end so."""
        environment = SECRET | {"KITELINE_CONFIG": str(self.home / FILE_NAME)}
        ended = kiteline(*arguments, "--json", environment=environment, cwd=self.directory)
        assert ended.code == code, ended.out
        return json.loads(ended.out)

    def refused(self, *arguments: str, code: Exit = Exit.REFUSED) -> str:
        """The reason why a command does not do it."""
        return str(self.run(*arguments, code=code)["error"]["reason"])

    def openssl(self, *arguments: str) -> str:
        """What openssl says, which must accept it."""
        ended = subprocess.run(
            ["openssl", *arguments],  # noqa: S607 - the system's own
            cwd=self.directory,
            input=PASSPHRASE,
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A root, an authority under it, and a member's pair that it issued."""
    made = Office(tmp_path_factory.mktemp("office"))
    made.run("ca", "create", "root", "--subject", "CN=Kiteline Root,O=Weifang,C=CN")
    made.run("ca", "create", "ca", "--subject", "CN=Kiteline Members,O=Weifang,C=CN", "--under", "root")
    asked = made.run("keys", "request", "--to", "requests")
    assert (asked["member"], asked["signing"]["number"]) == (PROVIDER, 1)
    made.run(
        "ca", "enrol", PROVIDER, "requests/signing.csr", "requests/encryption.csr", "--dir", "ca", "--out", "pair.pem"
    )
    certificates = (made.directory / "pair.pem").read_text(encoding="ascii").split("-----END CERTIFICATE-----\n")
    for name, certificate in zip(("signing.crt", "encryption.crt"), certificates, strict=False):
        (made.directory / name).write_text(f"{certificate}-----END CERTIFICATE-----\n", encoding="ascii")
    return made


def test_openssl_reads_the_requests_the_certificates_the_list_and_the_key(office: Office) -> None:
    identity = ("-vfyopt", "distid:1234567812345678")
    for kind in ("signing", "encryption"):
        office.openssl("req", "-in", f"requests/{kind}.csr", "-verify", "-noout", *identity)
        text = office.openssl("x509", "-in", f"{kind}.crt", "-noout", "-text")
        assert PROVIDER in text
        assert ("Digital Signature" in text) == (kind == "signing")
        assert ("Key Encipherment" in text) == (kind == "encryption")
        (office.directory / "issuer.pem").write_bytes((office.directory / "ca" / "chain.pem").read_bytes())
        office.openssl("verify", "-partial_chain", "-trusted", "issuer.pem", *identity, f"{kind}.crt")
    office.run("ca", "crl", "--dir", "ca", "--out", "first.crl")
    assert "Kiteline Members" in office.openssl("crl", "-in", "first.crl", "-noout", "-text")
    for key in ("root/key.pem", "ca/key.pem"):
        office.openssl("pkey", "-in", key, "-passin", "stdin", "-noout")


def test_a_pair_holds_link_by_link_up_to_the_root_and_at_its_time_alone(office: Office) -> None:
    pair = ("signing.crt", "encryption.crt")
    # Of the chain only the root is trusted: the authority between them comes along in the file.
    chain = (office.directory / "ca" / "chain.pem").read_text(encoding="ascii")
    for name in pair:
        (office.directory / f"whole-{name}").write_text(
            (office.directory / name).read_text(encoding="ascii") + chain, encoding="ascii"
        )
    held = office.run("ca", "verify", *(f"whole-{name}" for name in pair), "--trusted", "root/chain.pem")
    assert held["holds"] is True
    for name, at, reason in (
        ("signing.crt", None, "CERTIFICATE_CHAIN_BROKEN"),
        ("whole-signing.crt", LATER, "CERTIFICATE_EXPIRED"),
        ("whole-signing.crt", EARLIER, "CERTIFICATE_NOT_YET_VALID"),
    ):
        when = ("--at", at) if at else ()
        told = office.run("ca", "verify", name, "--trusted", "root/chain.pem", *when, code=Exit.DOES_NOT_HOLD)
        assert told["certificates"][0]["reason"] == reason


def test_what_is_revoked_does_not_hold_from_its_date_on(office: Office) -> None:
    serial = next(
        one["serial"] for one in office.run("ca", "list", "--dir", "ca")["certificates"] if one["kind"] == "signing"
    )
    office.run("ca", "revoke", serial, "--reason", "keyCompromise", "--dir", "ca")
    office.run("ca", "crl", "--dir", "ca", "--out", "newest.crl")
    asked = ("ca", "verify", "signing.crt", "--trusted", "ca/chain.pem", "--crl", "newest.crl")
    assert office.run(*asked, code=Exit.DOES_NOT_HOLD)["certificates"][0]["reason"] == "CERTIFICATE_REVOKED"
    asked = ("ca", "verify", "encryption.crt", "--trusted", "ca/chain.pem", "--crl", "newest.crl")
    assert office.run(*asked)["holds"] is True
    assert office.refused("ca", "revoke", serial, "--reason", "keyCompromise", "--dir", "ca") == "SERIAL_UNKNOWN"
    states = {one["kind"]: one["state"] for one in office.run("ca", "list", "--dir", "ca")["certificates"]}
    assert states == {"signing": "revoked", "encryption": "valid"}


def test_what_is_no_request_or_of_another_member_or_another_passphrase_is_refused(office: Office) -> None:
    (office.directory / "text.csr").write_text("a letter", encoding="ascii")
    asked = ("--kind", "signing", "--dir", "ca")
    assert office.refused("ca", "sign", "text.csr", *asked) == "CERTIFICATE_REQUEST_INVALID"
    assert office.refused("ca", "sign", "nothing.csr", *asked) == "FILE_UNUSABLE"
    assert (
        office.refused("ca", "enrol", PROVIDER, "requests/signing.csr", "requests/signing.csr", "--dir", "ca")
        == "CERTIFICATE_REQUEST_INVALID"
    )
    assert office.refused("ca", "crl", "--dir", "nowhere") == "AUTHORITY_UNUSABLE"
    assert office.refused("ca", "create", "ca", "--subject", "CN=Again") == "AUTHORITY_UNUSABLE"
    ended = kiteline(
        "ca", "crl", "--dir", "ca", "--json", environment={"KITELINE_PASSPHRASE": "another"}, cwd=office.directory
    )
    assert json.loads(ended.out)["error"]["reason"] == "KEY_INVALID"
