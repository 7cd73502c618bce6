"""Channels to other nodes: mutual TLS, pinned to the very certificate that is expected, kept while it is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from node.errors import NotAMember, PeerUnavailable
from node.ports import ChainView, Clock
from node.rpc.certificates import TLSIdentity, accepted_certificates, is_compromised, read_names, to_pem

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_RETIREMENT_SECONDS = 3_600.0
_Options = Sequence[tuple[str, int | str]]

_CHANNEL_OPTIONS: _Options = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Members reach each other as the chain says, not through what this machine's environment names for browsing.
    ("grpc.enable_http_proxy", 0),
    # Connections are shared between channels of equal arguments in one process; who calls must not be.
    ("grpc.use_local_subchannel_pool", 1),
)


def credentials(own: TLSIdentity, certificate_pem: bytes) -> grpc.ChannelCredentials:
    """Show `own`, and accept nobody but who holds the key of this certificate, or of one of several in the PEM text."""
    return grpc.ssl_channel_credentials(
        root_certificates=certificate_pem, private_key=own.key_pem, certificate_chain=own.certificate_pem
    )


def options(certificate: bytes) -> _Options:
    """A channel's options; the certificate's own name is accepted under whatever address it is reached."""
    host = read_names(certificate).host
    return (*_CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", host)) if host else _CHANNEL_OPTIONS


@dataclass(frozen=True)
class _Open:
    """A channel and what it was made for."""

    endpoint: str
    certificates: tuple[bytes, ...]
    own: TLSIdentity
    channel: grpc.aio.Channel


class Channels:
    """One channel a member; a new one when the member's endpoint or certificates change, or this node's own.

    Args:
        view: the chain.
        own: what this node shows now; asked at every use.
        clock: for how long a peer's certificate before a rotation is still accepted.
    """

    def __init__(self, view: ChainView, own: Callable[[], TLSIdentity], clock: Clock) -> None:
        self._view = view
        self._own = own
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._retired: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    def to(self, member_id: str) -> grpc.aio.Channel:
        """The channel to an active member. Raises NotAMember, PeerUnavailable where its certificate cannot be read."""
        member = self._view.member(member_id)
        if member is None or not member.is_active:
            raise NotAMember("no active member has that id", member=member_id)
        endpoint, own = member.keys.endpoint, self._own()
        certificates = accepted_certificates(member, self._clock())
        held = self._open.get(member_id)
        if held is not None and (held.endpoint, held.certificates, held.own) == (endpoint, certificates, own):
            return held.channel
        if not certificates:
            if held is not None:
                self._retire(self._open.pop(member_id), grace_seconds=None)
            raise PeerUnavailable(f"the certificate of {member_id} is declared compromised")
        try:
            channel = grpc.aio.secure_channel(
                endpoint, credentials(own, b"".join(map(to_pem, certificates))), options=options(certificates[0])
            )
        except ValueError as cause:
            raise PeerUnavailable(f"the certificate of {member_id} on the chain cannot be read") from cause
        self._open[member_id] = _Open(endpoint, certificates, own, channel)
        if held is not None:
            # What is running on the old channel may end there, unless a thief may be its other end; nothing new begins.
            stolen = any(is_compromised(member, certificate) for certificate in held.certificates)
            self._retire(held, None if stolen else _RETIREMENT_SECONDS)
        return channel

    def _retire(self, held: _Open, grace_seconds: float | None) -> None:
        closing = asyncio.create_task(held.channel.close(grace=grace_seconds))
        self._retired[closing] = held.channel
        closing.add_done_callback(self._retired.pop)

    async def close(self) -> None:
        """Close every channel; what is running on them ends as unavailable."""
        channels = [*(one.channel for one in self._open.values()), *self._retired.values()]
        waiting = list(self._retired)
        self._open.clear()
        for closing in waiting:
            closing.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in channels))
