"""PEM texts of one certificate or more: the first is meant, whatever follows it, and a client that has two accepts either."""

from __future__ import annotations

import asyncio

import pytest

from kiteline.exchange.v1 import department_pb2 as pb
from node.keys.material import certified
from node.rpc.certificates import TLSIdentity, to_der, to_pem
from node.rpc.client import Client
from tests.node.rpc.world import PROVIDER, World, tls_identity


# Base64 ends with no, one or two fillings, and what is read after them depends on it.
@pytest.mark.parametrize("length", range(1, 10))
def test_the_first_certificate_of_a_text_is_read_whatever_follows_it(length: int) -> None:
    first, second = (tls_identity(name * length).certificate_pem for name in ("a", "b"))
    der = to_der(first)
    assert to_der(first + second) == to_der(first + second + first) == to_der(b"\n" + first + b"\n") == der
    assert to_der(to_pem(der) + second) == der
    assert to_der(second + first) == to_der(second) != der


@pytest.mark.parametrize("text", [b"", b"a letter", b"-----BEGIN CERTIFICATE-----\n", b"\xff"])
def test_what_is_no_certificate_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        to_der(text)


@pytest.mark.parametrize("shown", [1, 2])
async def test_a_client_that_has_two_certificates_of_its_node_accepts_either(shown: int) -> None:
    made = [certified(PROVIDER, f"{PROVIDER.lower()}.kiteline", 1_795_000_000_000, str(number)) for number in (1, 2)]
    world = World()
    world.provider_tls = TLSIdentity(made[shown - 1].certificate_pem, made[shown - 1].key_pem)
    bundle = b"".join(one.certificate_pem for one in made)
    async with world.serving() as address:

        def ask() -> str:
            with Client(address, bundle, world.client_tls) as client:
                return str(client.department.GetStatus(pb.GetStatusRequest()).member_id)

        assert await asyncio.to_thread(ask)
