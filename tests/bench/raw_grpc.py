"""A gRPC server that knows nothing but gRPC and mutual TLS: what exchange and queries are compared with.

    python tests/bench/raw_grpc.py --port PORT --certificate FILE --key FILE --client FILE --messages FILE

`/raw.Raw/Stream` sends the messages of a file (each with its length in front, u32be), held in memory; `/raw.Raw/Echo` gives back
what it got.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

SERVICE = "raw.Raw"
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")
# Those of a node that concern messages and connections.
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 1_024),
    ("grpc.so_reuseport", 0),
)


def write_messages(path: Path, messages: Sequence[bytes]) -> None:
    """Write the file that `--messages` names."""
    with path.open("wb") as file:
        for message in messages:
            file.write(_LENGTH.pack(len(message)) + message)


def read_messages(path: Path) -> list[bytes]:
    """Read it."""
    raw, messages, at = path.read_bytes(), [], 0
    while at < len(raw):
        (size,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size + size
        messages.append(raw[at - size : at])
    return messages


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    messages = read_messages(arguments.messages)

    async def stream(_request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        for message in messages:
            await context.write(message)

    async def echo(request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return request

    server = grpc.aio.server(options=_OPTIONS)
    handlers = {
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials(
        [(arguments.key.read_bytes(), arguments.certificate.read_bytes())],
        root_certificates=arguments.client.read_bytes(),
        require_client_auth=True,
    )
    server.add_secure_port(f"127.0.0.1:{arguments.port}", credentials)
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(0)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    for name in ("certificate", "key", "client", "messages"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
