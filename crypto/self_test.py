"""Known-answer tests that an engine must pass before it is used, from the standards' own examples."""

from __future__ import annotations

from crypto.engine import Engine
from crypto.errors import CryptoError, DecryptionFailed, EngineUnavailable, SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey

# GB/T 32905-2016, Annex A, examples 1 and 2.
_SM3 = [
    (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
    (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
]
# GB/T 32907-2016, Annex A, example 1.
_SM4_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
_SM4_BLOCK = "681edf34d206965e86b3e94f536e4246"
# RFC 8998, appendix A.1: SM4-GCM.
_GCM_NONCE = bytes.fromhex("00001234567800000000abcd")
_GCM_AAD = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_PLAINTEXT = bytes.fromhex(
    "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccddddddddddddddddeeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
)
_GCM_SEALED = (
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
    "83de3541e4c2b58177e065a9bf7b62ec"
)
# GB/T 32918.5-2017, Annex A.2: a signature over "message digest".
_SM2_KEY = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
_SM2_MESSAGE = b"message digest"
_SM2_SIGNATURE = bytes.fromhex(
    "3046022100f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "022100b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)


def self_test(engine: Engine) -> None:
    """Raise EngineUnavailable unless the engine gives the standards' answers and refuses what is wrong."""
    try:
        _digests(engine)
        _ciphers(engine)
        _signatures(engine)
    except CryptoError as cause:
        if isinstance(cause, EngineUnavailable):
            raise
        raise EngineUnavailable(f"self-test raised {cause.reason}") from cause


def _expect(what: str, *, holds: bool) -> None:
    if not holds:
        raise EngineUnavailable(f"self-test failed: {what}")


def _digests(engine: Engine) -> None:
    # More than one group of 16 lanes and a short last one, so that every lane and the padding are seen.
    cases = (_SM3 * 17)[:33]
    digests = engine.sm3_many(Packed.of([message for message, _ in cases]))
    _expect("SM3", holds=digests.hex() == "".join(answer for _, answer in cases))


def _ciphers(engine: Engine) -> None:
    count = 17
    _expect("SM4", holds=engine.sm4_encrypt_blocks(_SM4_KEY, _SM4_KEY * 3).hex() == _SM4_BLOCK * 3)
    keys, nonces = _SM4_KEY * count, _GCM_NONCE * count
    aads, plaintexts = Packed.of([_GCM_AAD] * count), Packed.of([_GCM_PLAINTEXT] * count)
    sealed = engine.sm4_gcm_seal_many(keys, nonces, aads, plaintexts)
    _expect("SM4-GCM seal", holds=sealed.data.hex() == _GCM_SEALED * count)
    _expect("SM4-GCM open", holds=engine.sm4_gcm_open_many(keys, nonces, aads, sealed).data == plaintexts.data)
    counter = _GCM_NONCE + (2).to_bytes(4, "big")
    _expect("SM4-CTR", holds=engine.sm4_ctr(_SM4_KEY, counter, sealed[0][:-16]) == _GCM_PLAINTEXT)
    wrong = Packed.of([*list(sealed)[:-1], sealed[0][:-1] + bytes([sealed[0][-1] ^ 1])])
    try:
        engine.sm4_gcm_open_many(keys, nonces, aads, wrong)
    except DecryptionFailed as refusal:
        _expect("SM4-GCM names the wrong message", holds=refusal.details.get("index") == str(count - 1))
    else:
        raise EngineUnavailable("self-test failed: SM4-GCM opened a changed message")


def _signatures(engine: Engine) -> None:
    count = 9
    key = SM2PrivateKey(_SM2_KEY)
    keys, messages = [key.public_key] * count, [_SM2_MESSAGE] * count
    engine.sm2_verify_many(keys, messages, [_SM2_SIGNATURE] * count)
    signatures = engine.sm2_sign_many(key, messages)
    _expect("SM2 draws a fresh number for each signature", holds=len(set(signatures)) == count)
    engine.sm2_verify_many(keys, messages, signatures)
    try:
        engine.sm2_verify_many(keys, [*messages[:-1], b"another"], signatures)
    except SignatureInvalid as refusal:
        _expect("SM2 names the wrong signature", holds=refusal.details.get("index") == str(count - 1))
    else:
        raise EngineUnavailable("self-test failed: SM2 verified a wrong signature")
    ciphertext = engine.sm2_encrypt(key.public_key, _SM2_MESSAGE)
    _expect("SM2 decrypts", holds=engine.sm2_decrypt(key, ciphertext) == _SM2_MESSAGE)
