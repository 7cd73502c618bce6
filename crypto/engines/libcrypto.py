"""Low level, easy to misuse: the few functions of OpenSSL 3's libcrypto that SM2 needs, by ctypes.

Everything that libcrypto hands out is freed by whoever asked for it; `Handle` does so. ctypes releases the
interpreter lock during each call.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_ubyte, c_ulong, c_void_p

from crypto.errors import EngineUnavailable

_OLDEST = 0x30000000
_SM2_ASSEMBLY = (3, 2)  # since when SM2 has code of its own for 64-bit ARM
_CVE_2025_9231_FIXED = {
    (3, 2): 6,
    (3, 3): 5,
    (3, 4): 3,
    (3, 5): 4,
}  # patch level that fixed it; later series never had it
_TABLES = "SM4 of libcrypto may look up tables by secret values, which other programs on the machine can time"
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "OpenSSL_version_num": (c_ulong, []),
    "ERR_clear_error": (None, []),
    "d2i_PUBKEY": (c_void_p, [c_void_p, POINTER(c_char_p), ctypes.c_long]),
    "d2i_AutoPrivateKey": (c_void_p, [c_void_p, POINTER(c_char_p), ctypes.c_long]),
    "EVP_PKEY_free": (None, [c_void_p]),
    "EVP_PKEY_is_a": (c_int, [c_void_p, c_char_p]),
    "EVP_PKEY_CTX_new_from_pkey": (c_void_p, [c_void_p, c_void_p, c_char_p]),
    "EVP_PKEY_CTX_free": (None, [c_void_p]),
    "EVP_PKEY_CTX_set1_id": (c_int, [c_void_p, c_char_p, c_size_t]),
    "EVP_MD_CTX_new": (c_void_p, []),
    "EVP_MD_CTX_free": (None, [c_void_p]),
    "EVP_MD_CTX_set_pkey_ctx": (None, [c_void_p, c_void_p]),
    "EVP_sm3": (c_void_p, []),
    "EVP_DigestSignInit": (c_int, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "EVP_DigestSign": (c_int, [c_void_p, c_void_p, POINTER(c_size_t), c_char_p, c_size_t]),
    "EVP_DigestVerifyInit": (c_int, [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]),
    "EVP_DigestVerify": (c_int, [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t]),
    "EVP_PKEY_encrypt_init": (c_int, [c_void_p]),
    "EVP_PKEY_encrypt": (c_int, [c_void_p, c_void_p, POINTER(c_size_t), c_char_p, c_size_t]),
    "EVP_PKEY_decrypt_init": (c_int, [c_void_p]),
    "EVP_PKEY_decrypt": (c_int, [c_void_p, c_void_p, POINTER(c_size_t), c_char_p, c_size_t]),
}


class Library:
    """libcrypto with typed functions. Raises EngineUnavailable where it is absent, older than 3.0, or lacks one."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("crypto") or "libcrypto.so.3"
        try:
            library = ctypes.CDLL(name)
        except OSError as cause:
            raise EngineUnavailable("OpenSSL 3's libcrypto is not installed (Debian: libssl3)") from cause
        for function, (result, arguments) in _SIGNATURES.items():
            try:
                found = getattr(library, function)
            except AttributeError as cause:
                raise EngineUnavailable(
                    f"libcrypto lacks {function}: it is older than 3.0 or built without SM2"
                ) from cause
            found.restype, found.argtypes = result, arguments
            setattr(self, function, found)
        self.version = int(library.OpenSSL_version_num())
        if self.version < _OLDEST:
            raise EngineUnavailable(f"libcrypto is of version {self.version >> 28}; 3.0 or later is needed")

    def __getattr__(self, name: str) -> ctypes._NamedFuncPointer:
        raise AttributeError(name)


def timing_caution(version: int, machine: str) -> str:
    """What is known to leak through time in libcrypto of this version (0xMNN00PP0, OpenSSL_version_num) on this machine.

    A caution and no refusal: the engine that would take over, in pure Python, leaks more. Where it matters, keys belong in
    an HSM. Distributions mend a version without changing its number, so the number says only what to look for.
    """
    series, patch = (version >> 28, version >> 20 & 0xFF), version >> 4 & 0xFF
    if machine not in {"aarch64", "arm64"} or series < _SM2_ASSEMBLY:
        return _TABLES
    if patch < _CVE_2025_9231_FIXED.get(series, 0):
        fixed = f"{series[0]}.{series[1]}.{_CVE_2025_9231_FIXED[series]}"
        return (
            f"{_TABLES}; SM2 leaks private keys through time on this processor (CVE-2025-9231): install OpenSSL {fixed}"
        )
    return f"{_TABLES}; multiplication in SM2 is not constant-time on this processor (openssl#31133)"


class Handle:
    """A pointer that libcrypto gave, and the function that frees it; a context manager, and freed at the latest with it."""

    __slots__ = ("_free", "value")

    def __init__(self, value: int | None, free: ctypes._NamedFuncPointer) -> None:
        if not value:
            raise EngineUnavailable("libcrypto could not allocate an object, or was built without SM2")
        self.value = value
        self._free = free

    def __enter__(self) -> int:
        return self.value

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free it, once."""
        value, self.value = self.value, 0
        if value:
            self._free(value)

    def __del__(self) -> None:
        if getattr(self, "value", 0):
            self.close()


def buffer(size: int) -> ctypes.Array[c_ubyte]:
    """Writable memory of `size` bytes."""
    return (c_ubyte * size)()
