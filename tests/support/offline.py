"""A machine without a network, and a browser: what an auditor has, as far as this machine can be that."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from functools import cache
from pathlib import Path

import pytest

_SECONDS = 120
_FLAGS = [
    "--headless",
    "--no-sandbox",  # which cannot be had as root; nothing but our own page is opened
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
]
_PNG = b"\x89PNG\r\n\x1a\n"


@cache
def without_network() -> tuple[str, ...]:
    """The program that starts another where there is no network, not even loopback; skips where that is not permitted."""
    program = shutil.which("unshare")
    if program is not None:
        for options in (["--net"], ["--net", "--map-root-user"]):
            tried = subprocess.run([program, *options, "true"], capture_output=True, check=False)
            if tried.returncode == 0:
                return (program, *options)
    pytest.skip("this system does not let us leave the network")


def chromium() -> str:
    """The browser; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    return program


def opened(page: Path, scratch: Path) -> tuple[str, Path, str]:
    """Open a page without a network. Gives the document as the browser has it, a picture, and what its console said."""
    picture = scratch / "page.png"
    profile = f"--user-data-dir={scratch / 'profile'}"
    said = ""
    for output in ("--dump-dom", f"--screenshot={picture}"):
        command = [*without_network(), chromium(), *_FLAGS, profile, "--window-size=1200,2000", output, page.as_uri()]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        said += "\n".join(line for line in finished.stderr.splitlines() if "CONSOLE" in line and page.as_uri() in line)
        if output == "--dump-dom":
            document = finished.stdout
    return document, picture, said


def colours(picture: Path) -> int:
    """How many different bytes the lines of a PNG file are made of: 1 or 2, if nothing was drawn."""
    raw, at, data = picture.read_bytes(), len(_PNG), b""
    assert raw.startswith(_PNG)
    while at < len(raw):
        (size,), kind = struct.unpack_from(">I", raw, at), raw[at + 4 : at + 8]
        data += raw[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    return len(set(zlib.decompress(data)))
