"""The machine that was measured on, as far as it moves the figures."""

from __future__ import annotations

import ctypes.util
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend

from crypto.engine import survey_engines
from scripts.set_up import MULTIBUFFER_FLAGS

_PACKAGES = ("cryptography", "gmssl", "ipp-crypto", "grpcio", "lmdb", "numpy", "pyarrow")


def describe(date: str, disk: Path) -> list[tuple[str, str]]:
    """(what, how it is) of this machine. `date`: when it was measured; `disk`: where the stores lay."""
    cpu = _cpu()
    flags = set(cpu.get("flags", "").split())
    load, _, _ = os.getloadavg()
    return [
        ("date", date),
        ("processor", f"{cpu.get('model name', platform.machine())}, {len(os.sched_getaffinity(0))} cores"),
        (
            "of the flags that the multi-buffer engine needs, it has",
            ", ".join(sorted(MULTIBUFFER_FLAGS & flags)) or "none",
        ),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"),
        ("file system of the stores", _file_system(disk)),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("load when the run began", f"{load:.2f}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("OpenSSL of the system", _system_openssl()),
        ("OpenSSL of cryptography", backend.openssl_version_text()),
        ("packages", ", ".join(_packages())),
        ("engines", "; ".join(f"{one.name}: {'usable' if one.usable else one.why}" for one in survey_engines())),
        ("Kiteline", version("kiteline")),
    ]


def _cpu() -> dict[str, str]:
    """The first processor's lines."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _file_system(path: Path) -> str:
    """The type of the file system that holds a path: of its mounts the one with the longest name."""
    best = ("", "unknown")
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return best[1]
    for line in lines:
        _, mount, kind, *_ = line.split(" ")
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def _system_openssl() -> str:
    """The version of the libcrypto that the engines find."""
    try:
        library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
    except OSError:
        return "not installed"
    library.OpenSSL_version.restype = ctypes.c_char_p
    return bytes(library.OpenSSL_version(0)).decode()


def _packages() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"
