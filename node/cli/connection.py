"""The command line's connection to the department's own node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.app.settings import load
from node.cli.session import passphrase
from node.keys.store import CLIENT, node_certificates, open_program_certificate
from node.rpc.certificates import TLSIdentity
from node.rpc.client import Client

_ANY = ("0.0.0.0:", "[::]:")


@contextmanager
def connected(config: Path, program: str = CLIENT) -> Iterator[Client]:
    """A client of the node that a configuration describes, as the department's own program or (`SECURITY`) its security team. Raises Refusals."""
    settings = load(config)
    own = open_program_certificate(settings.keys_directory, program, passphrase())
    certificate = b"".join(node_certificates(settings.keys_directory))
    address = settings.listen
    for wildcard in _ANY:
        address = address.replace(wildcard, "127.0.0.1:")
    with Client(address, certificate, TLSIdentity(own.certificate_pem, own.key_pem)) as client:
        yield client
