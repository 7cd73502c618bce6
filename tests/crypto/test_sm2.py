"""SM2 keys as values and as files: what is written is OpenSSL 3's form, and of the older forms only sound ones are read."""

from __future__ import annotations

import os

import pytest

from crypto.der import BIT_STRING, INTEGER, NULL, OBJECT, OCTET_STRING, SEQUENCE, encode
from crypto.errors import KeyInvalid
from crypto.sm2 import GX, GY, P, SM2PrivateKey, SM2PublicKey, add, multiply, to_pem

KEY = SM2PrivateKey.generate(os.urandom)
OTHER = SM2PrivateKey.generate(os.urandom)
SM2 = encode(OBJECT, bytes.fromhex("2a811ccf5501822d"))
EC = encode(OBJECT, bytes.fromhex("2a8648ce3d0201"))
P256 = encode(OBJECT, bytes.fromhex("2a8648ce3d030107"))
NAMED, ABSENT = encode(0xA0, SM2), b""


def public(key: SM2PrivateKey = KEY, first: bytes = b"\0") -> bytes:
    return encode(0xA1, encode(BIT_STRING, first + key.public_key.to_bytes()))


def rfc5915(
    parameters: bytes = NAMED, point: bytes | None = None, version: int = 1, secret: bytes = KEY.secret_bytes()
) -> bytes:
    inside = encode(INTEGER, bytes([version])) + encode(OCTET_STRING, secret) + parameters
    return encode(SEQUENCE, inside + (public() if point is None else point))


def pkcs8(inner: bytes, algorithm: bytes = EC + SM2, version: int = 0, behind: bytes = b"") -> bytes:
    inside = encode(INTEGER, bytes([version])) + encode(SEQUENCE, algorithm) + encode(OCTET_STRING, inner)
    return encode(SEQUENCE, inside + behind)


def spki(algorithm: bytes = EC + SM2, bits: bytes = b"\0" + KEY.public_key.to_bytes(), behind: bytes = b"") -> bytes:
    return encode(SEQUENCE, encode(SEQUENCE, algorithm) + encode(BIT_STRING, bits) + behind)


def test_keys_are_written_as_openssl_writes_them() -> None:
    assert KEY.to_der() == pkcs8(rfc5915(ABSENT))
    assert len(KEY.to_der()) == 138
    assert KEY.public_key.to_der() == spki()
    assert SM2PrivateKey.from_pem(KEY.to_pem()).secret_bytes() == KEY.secret_bytes()
    assert SM2PublicKey.from_pem(KEY.public_key.to_pem()) == KEY.public_key


SOUND_PRIVATE = {
    "as OpenSSL 3": ("PRIVATE KEY", pkcs8(rfc5915(ABSENT))),
    "with parameters": ("PRIVATE KEY", pkcs8(rfc5915())),
    "without public key": ("PRIVATE KEY", pkcs8(rfc5915(ABSENT, b""))),
    "with parameters, without public key": ("PRIVATE KEY", pkcs8(rfc5915(NAMED, b""))),
    "algorithm named by the curve": ("PRIVATE KEY", pkcs8(rfc5915(), SM2 + SM2)),
    "with attributes": ("PRIVATE KEY", pkcs8(rfc5915(ABSENT), behind=encode(0xA0, b""))),
    "EC": ("EC PRIVATE KEY", rfc5915()),
    "SM2": ("SM2 PRIVATE KEY", rfc5915()),
    "SM2 without public key": ("SM2 PRIVATE KEY", rfc5915(NAMED, b"")),
}


@pytest.mark.parametrize("form", SOUND_PRIVATE)
@pytest.mark.parametrize("before", ["", "EC PARAMETERS", "SM2 PARAMETERS"])
def test_every_sound_form_of_private_key_is_read(form: str, before: str) -> None:
    label, der = SOUND_PRIVATE[form]
    pem = (to_pem(SM2, before) if before else b"") + to_pem(der, label)
    assert SM2PrivateKey.from_pem(pem).secret_bytes() == KEY.secret_bytes()
    assert SM2PrivateKey.from_pem(b"ASN1 OID: SM2\n" + pem + b"\n\n").public_key == KEY.public_key


UNSOUND_PRIVATE = {
    "another public key": ("PRIVATE KEY", pkcs8(rfc5915(ABSENT, public(OTHER)))),
    "another public key, older form": ("SM2 PRIVATE KEY", rfc5915(NAMED, public(OTHER))),
    "a public key of part of a byte": ("PRIVATE KEY", pkcs8(rfc5915(ABSENT, public(first=b"\1")))),
    "a public key of no bits": ("PRIVATE KEY", pkcs8(rfc5915(ABSENT, encode(0xA1, encode(BIT_STRING, b""))))),
    "parameters of another curve": ("PRIVATE KEY", pkcs8(rfc5915(encode(0xA0, P256)))),
    "empty parameters": ("PRIVATE KEY", pkcs8(rfc5915(encode(0xA0, b"")))),
    "parameters and more": ("PRIVATE KEY", pkcs8(rfc5915(encode(0xA0, SM2 + SM2)))),
    "parameters NULL": ("PRIVATE KEY", pkcs8(rfc5915(encode(0xA0, encode(NULL, b""))))),
    "older form without the curve": ("EC PRIVATE KEY", rfc5915(ABSENT)),
    "older form of another curve": ("EC PRIVATE KEY", rfc5915(encode(0xA0, P256))),
    "older form under the newer label": ("PRIVATE KEY", rfc5915()),
    "newer form under the older label": ("EC PRIVATE KEY", pkcs8(rfc5915())),
    "another label": ("RSA PRIVATE KEY", rfc5915()),
    "a public key's label": ("PUBLIC KEY", pkcs8(rfc5915())),
    "algorithm of another curve": ("PRIVATE KEY", pkcs8(rfc5915(), EC + P256)),
    "curve named twice wrongly": ("PRIVATE KEY", pkcs8(rfc5915(), SM2 + P256)),
    "algorithm alone": ("PRIVATE KEY", pkcs8(rfc5915(), EC)),
    "algorithm and more": ("PRIVATE KEY", pkcs8(rfc5915(), EC + SM2 + SM2)),
    "version of PKCS#8": ("PRIVATE KEY", pkcs8(rfc5915(), version=1)),
    "version of the key": ("PRIVATE KEY", pkcs8(rfc5915(version=0))),
    "31 bytes": ("PRIVATE KEY", pkcs8(rfc5915(secret=KEY.secret_bytes()[1:]))),
    "33 bytes": ("PRIVATE KEY", pkcs8(rfc5915(secret=b"\0" + KEY.secret_bytes()))),
    "a byte behind the key": ("PRIVATE KEY", pkcs8(rfc5915() + b"\0")),
    "a byte behind the older form": ("SM2 PRIVATE KEY", rfc5915() + b"\0"),
    "a byte behind": ("PRIVATE KEY", pkcs8(rfc5915()) + b"\0"),
    "another element inside": ("PRIVATE KEY", pkcs8(rfc5915(), behind=encode(NULL, b""))),
    "nothing": ("PRIVATE KEY", b""),
}


@pytest.mark.parametrize("form", UNSOUND_PRIVATE)
def test_an_unsound_form_of_private_key_is_refused_without_its_secret(form: str) -> None:
    label, der = UNSOUND_PRIVATE[form]
    with pytest.raises(KeyInvalid) as refusal:
        SM2PrivateKey.from_pem(to_pem(der, label))
    assert KEY.secret_bytes().hex() not in f"{refusal.value} {refusal.value.details}"


PARAMETERS = to_pem(SM2, "EC PARAMETERS")
KEY_BLOCK = to_pem(rfc5915(), "EC PRIVATE KEY")
UNSOUND_PEM = {
    "nothing": b"",
    "text": b"no key at all\n",
    "parameters of another curve": to_pem(P256, "EC PARAMETERS") + KEY_BLOCK,
    "parameters twice": PARAMETERS * 2 + KEY_BLOCK,
    "parameters behind": KEY_BLOCK + PARAMETERS,
    "parameters alone": PARAMETERS,
    "two keys": KEY_BLOCK * 2,
    "two keys of two forms": KEY_BLOCK + KEY.to_pem(),
    "a key and its public key": KEY.to_pem() + KEY.public_key.to_pem(),
    "a block without an end behind": KEY.to_pem() + b"-----BEGIN PRIVATE KEY-----\n",
    "no end": KEY.to_pem().rpartition(b"-----END")[0],
    "another end": KEY.to_pem().replace(b"END PRIVATE", b"END PUBLIC"),
    "no base64": KEY.to_pem().replace(b"M", b"!", 1),
    "headers": KEY.to_pem().replace(b"-----\nM", b"-----\nProc-Type: 4,ENCRYPTED\n\nM", 1),
    "cut short": KEY.to_pem().replace(KEY.to_pem().splitlines()[2] + b"\n", b""),
}


@pytest.mark.parametrize("form", UNSOUND_PEM)
def test_what_is_no_single_key_is_refused(form: str) -> None:
    with pytest.raises(KeyInvalid):
        SM2PrivateKey.from_pem(UNSOUND_PEM[form])


@pytest.mark.parametrize("algorithm", [EC + SM2, SM2 + SM2], ids=["id-ecPublicKey", "the curve itself"])
def test_both_names_of_the_algorithm_of_a_public_key_are_read(algorithm: bytes) -> None:
    assert SM2PublicKey.from_der(spki(algorithm)) == KEY.public_key
    assert SM2PublicKey.from_pem(to_pem(spki(algorithm), "PUBLIC KEY")) == KEY.public_key


UNSOUND_PUBLIC = {
    "another curve": spki(EC + P256),
    "another algorithm": spki(P256 + SM2),
    "algorithm alone": spki(SM2),
    "algorithm and NULL": spki(EC + SM2 + encode(NULL, b"")),
    "a part of a byte": spki(bits=b"\1" + KEY.public_key.to_bytes()),
    "no bits": spki(bits=b""),
    "no point": spki(bits=b"\0"),
    "an element more": spki(behind=encode(NULL, b"")),
    "a byte behind": spki() + b"\0",
    "a byte short": spki()[:-1],
    "nothing": b"",
}


@pytest.mark.parametrize("form", UNSOUND_PUBLIC)
def test_an_unsound_form_of_public_key_is_refused(form: str) -> None:
    with pytest.raises(KeyInvalid):
        SM2PublicKey.from_der(UNSOUND_PUBLIC[form])


def test_a_key_never_shows_its_secret() -> None:
    shown = f"{KEY!r} {KEY} {KEY.public_key!r}"
    for secret in (KEY.secret_bytes().hex(), str(int.from_bytes(KEY.secret_bytes(), "big")), repr(KEY.secret_bytes())):
        assert secret not in shown
    assert KEY.public_key.digest().hex()[:16] in shown


def test_public_keys_are_values() -> None:
    again = SM2PublicKey.from_bytes(KEY.public_key.to_bytes())
    assert again == KEY.public_key
    assert len({again, KEY.public_key, OTHER.public_key}) == 2
    assert KEY.public_key != OTHER.public_key
    assert KEY.public_key != KEY.public_key.to_bytes()


def test_sums_of_points_with_themselves_and_their_opposites() -> None:
    base, twice = (GX, GY), multiply(2, (GX, GY))
    assert add(base, base) == twice
    assert add(twice, base) == multiply(3, base)
    assert add(base, (GX, P - GY)) is None
