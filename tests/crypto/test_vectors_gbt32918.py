"""The examples of GB/T 32918.5-2017, Annexes A and C, on every engine.

Values printed in the standard stand here, so that these tests hold without any file; where the file of the published
vectors stands beside the checkout, it must say the same and its negative cases are run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crypto.der import Ciphertext, decode_ciphertext, encode_signature
from crypto.engine import Engine
from crypto.engines.gmssl import GMSSLEngine
from crypto.errors import DecryptionFailed, SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import DEFAULT_USER_ID, GX, GY, A, B, N, P, SM2PrivateKey, SM2PublicKey
from tests.crypto.engines_at_hand import DRAWING_ENGINE_NAMES, engine_drawing
from tests.crypto.vector_files import holds_over, identity_digest

SCALAR = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
KEY = SM2PrivateKey(SCALAR)
POINT_X = "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
POINT_Y = "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
EPHEMERAL = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21  # k of both annexes

SIGNED_MESSAGE = b"message digest"
Z_A = "B2E14C5C79C6DF5B85F4FE7ED8DB7A262B9DA7E07CCB0EA9F4747B8CCDA8A4F3"
E = "F0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640"
R = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
S = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA

SEALED_MESSAGE = b"encryption standard"
CIPHERTEXT = Ciphertext(
    x=0x04EBFC718E8D1798620432268E77FEB6415E2EDE0E073C0F4F640ECD2E149A73,
    y=0xE858F9D81E5430A57B36DAAB8F950A3C64E6EE6A63094D99283AFF767E124DF0,
    digest=bytes.fromhex("59983C18F809E262923C53AEC295D30383B54E39D609D160AFCB1908D0BD8766"),
    body=bytes.fromhex("21886CA989CA9C7D58087307CA93092D651EFA"),
)


SCALARS = {"d": f"{SCALAR:064X}", "Px": POINT_X, "Py": POINT_Y, "k": f"{EPHEMERAL:064X}"}


def document(vectors: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((vectors / "gbt32918.5" / "sm2_sm2p256v1.json").read_text(encoding="utf-8"))
    return held


def test_the_scalar_has_the_standards_point() -> None:
    assert KEY.public_key.to_bytes().hex().upper() == "04" + POINT_X + POINT_Y


def test_z_a_and_e_are_the_standards(engine: Engine) -> None:
    domain = b"".join(value.to_bytes(32, "big") for value in (A, B, GX, GY))
    identity = bytes.fromhex("0080") + DEFAULT_USER_ID + domain + KEY.public_key.to_bytes()[1:]
    z_a = engine.sm3_many(Packed.of([identity]))
    assert z_a.hex().upper() == Z_A
    assert engine.sm3_many(Packed.of([z_a + SIGNED_MESSAGE])).hex().upper() == E
    assert identity_digest(KEY.public_key) == z_a


def test_the_signature_verifies(engine: Engine) -> None:
    engine.sm2_verify_many([KEY.public_key], [SIGNED_MESSAGE], [encode_signature(R, S)])


@pytest.mark.parametrize("name", DRAWING_ENGINE_NAMES)
def test_the_standards_ephemeral_number_gives_its_signature(name: str) -> None:
    # All lanes of the multi-buffer engine sign with the one number here, as no engine in use may.
    signatures = engine_drawing(name, EPHEMERAL).sm2_sign_many(KEY, [SIGNED_MESSAGE] * 9)
    assert signatures == [encode_signature(R, S)] * 9


@pytest.mark.parametrize("user_id", [b"2234567812345678", b"", DEFAULT_USER_ID + b"\0", DEFAULT_USER_ID[:-1]])
def test_the_signature_does_not_verify_under_another_user_id(engine: Engine, user_id: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        engine.sm2_verify_many([KEY.public_key], [SIGNED_MESSAGE], [encode_signature(R, S)], user_id)


def test_the_ciphertext_decrypts(engine: Engine) -> None:
    assert engine.sm2_decrypt(KEY, CIPHERTEXT.encode()) == SEALED_MESSAGE


def test_the_standards_ephemeral_number_gives_its_ciphertext() -> None:
    # The pure engine only: the others encrypt with OpenSSL, which draws the number for itself.
    engine = GMSSLEngine(lambda size: EPHEMERAL.to_bytes(size, "big"))
    assert engine.sm2_encrypt(KEY.public_key, SEALED_MESSAGE) == CIPHERTEXT.encode()


@pytest.mark.parametrize("order", ["raw_C1C3C2", "raw_C1C2C3_old"])
def test_the_raw_orders_are_refused(engine: Engine, order: str) -> None:
    raw = b"\4" + CIPHERTEXT.x.to_bytes(32, "big") + CIPHERTEXT.y.to_bytes(32, "big")
    parts = [CIPHERTEXT.digest, CIPHERTEXT.body]
    with pytest.raises(DecryptionFailed):
        engine.sm2_decrypt(KEY, raw + b"".join(parts if order == "raw_C1C3C2" else reversed(parts)))


def test_the_published_file_says_the_same(vectors: Path) -> None:
    signature, encryption = document(vectors)["tests"]
    assert signature == {
        "name": "Annex A signature",
        "id_ascii": DEFAULT_USER_ID.decode(),
        "ENTL": "0080",
        "msg_ascii": SIGNED_MESSAGE.decode(),
        "Z_A": Z_A,
        "e": E,
        "r": f"{R:064X}",
        "s": f"{S:064X}",
        "signature_der": encode_signature(R, S).hex().upper(),
        **SCALARS,
    }
    raw = f"04{CIPHERTEXT.x:064X}{CIPHERTEXT.y:064X}"
    digest, body = CIPHERTEXT.digest.hex().upper(), CIPHERTEXT.body.hex().upper()
    assert encryption == {
        "name": "Annex C encryption",
        "msg_ascii": SEALED_MESSAGE.decode(),
        "C1": raw,
        "C3": digest,
        "C2": body,
        "raw_C1C3C2": raw + digest + body,
        "raw_C1C2C3_old": raw + body + digest,
        "ciphertext_der_GMT0009": CIPHERTEXT.encode().hex().upper(),
        **SCALARS,
    }
    assert decode_ciphertext(bytes.fromhex(encryption["ciphertext_der_GMT0009"])) == CIPHERTEXT


def test_the_published_negative_cases_are_refused(vectors: Path, engine: Engine) -> None:
    zero_sum, *identities = document(vectors)["negative_tests"]
    assert len(identities) == 2
    for case in identities:
        assert case["expect"] == "invalid"
        with pytest.raises(SignatureInvalid):
            engine.sm2_verify_many(
                [KEY.public_key],
                [case["msg_ascii"].encode()],
                [encode_signature(R, S)],
                case["id_ascii"].encode(),
            )
    # r + s = n. The file fixes e, which an engine computes for itself, so that an engine could refuse for the wrong reason;
    # that it is the range is said by the error. Without that check the equation holds: s·G + 0·P has the x that r - e wants.
    signature = bytes.fromhex(zero_sum["signature_der"])
    assert signature == encode_signature(1, N - 1)
    assert (int(zero_sum["e"], 16) + GX) % N == 1
    key = SM2PublicKey.from_bytes(bytes.fromhex("04" + zero_sum["Px"] + zero_sum["Py"]))
    with pytest.raises(SignatureInvalid, match="out of range"):
        engine.sm2_verify_many([key], [SIGNED_MESSAGE], [signature])


def test_the_published_curve_is_ours(vectors: Path) -> None:
    curve = document(vectors)["curve"]
    ours = {"p": P, "a": A, "b": B, "n": N, "Gx": GX, "Gy": GY}
    assert {name: int(curve[name], 16) for name in ours} == ours


def test_the_signature_holds_over_e_and_over_no_bare_digest() -> None:
    """The arithmetic by which other tests show that a vector lacks Z_A tells the two apart."""
    signature = encode_signature(R, S)
    assert holds_over(bytes.fromhex(E), KEY.public_key, signature)
    assert not holds_over(bytes.fromhex(Z_A), KEY.public_key, signature)
