"""The errors of `crypto`, and `Refusal`, the base of every error that Kiteline raises on purpose.

A refusal has a `reason`: UPPER_SNAKE, unique, never changed once released, because programs of other departments
compare it (AIP-193). Messages are for people and may change. `seen_by` and `remedy` feed the table of reasons in the
documentation, so that what an operator reads and what the program raises cannot drift apart.
"""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """Base of all deliberate errors: one clear sentence, one stable reason, variables apart.

    Attributes:
        reason: stable UPPER_SNAKE code.
        seen_by: who meets it: "caller", "operator", "officer", "auditor", "peer" (comma-separated).
        remedy: what that person can do next, one sentence.
        details: variables of this occurrence, safe to show and to log; never key material or record content.
    """

    reason: ClassVar[str]
    seen_by: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.details = {name: str(value) for name, value in details.items()}


def refusals_by_reason() -> dict[str, type[Refusal]]:
    """Every class that states a reason, by it; of the packages whose errors are imported by now."""
    found: dict[str, type[Refusal]] = {}
    waiting = Refusal.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if "reason" in vars(kind):
            found.setdefault(kind.reason, kind)
    return found


class CryptoError(Refusal):
    """Base of the errors of this package."""


class EngineUnavailable(CryptoError):
    """No cryptographic engine passed its self-tests, or the one asked for did not."""

    reason = "ENGINE_UNAVAILABLE"
    seen_by = "operator"
    remedy = (
        "`kiteline engines` says what each lacks: install OpenSSL 3 with SM2, SM3 and SM4 (Debian: libssl3), "
        "or drop `engine` from the configuration and KITELINE_ENGINE from the environment."
    )


class SignatureInvalid(CryptoError):
    """A signature does not verify under the key and user id that it is claimed for."""

    reason = "SIGNATURE_INVALID"
    seen_by = "caller, peer, auditor"
    remedy = (
        "Sign again with the key that the chain names for this member, user id 1234567812345678; if you only "
        "received it, keep it and tell the sender."
    )


class DecryptionFailed(CryptoError):
    """A ciphertext is not authentic under this key. One uniform error, whatever the cause (no oracle)."""

    reason = "DECRYPTION_FAILED"
    seen_by = "caller, peer"
    remedy = "Fetch again; if it happens again, keep the evidence and report the sender."


class EncodingInvalid(CryptoError):
    """Bytes are truncated, oversized, of an unknown version, or not in the one accepted spelling."""

    reason = "ENCODING_INVALID"
    seen_by = "caller, peer, auditor"
    remedy = "Write the value in the canonical form that docs/formats.md gives."


class KeyInvalid(CryptoError):
    """A key is out of range, off the curve, of another kind, or its passphrase is wrong."""

    reason = "KEY_INVALID"
    seen_by = "operator, caller"
    remedy = (
        "Check first that KITELINE_PASSPHRASE_FILE holds this node's passphrase, then the file that the "
        "message names; keys are PKCS#8 or SubjectPublicKeyInfo as OpenSSL 3 writes them."
    )


class KeyFileExposed(CryptoError):
    """A private key file can be read by others than its owner."""

    reason = "KEY_FILE_EXPOSED"
    seen_by = "operator"
    remedy = "`chmod 600` the file; then rotate the key if others may have read it."


class ProofInvalid(CryptoError):
    """A Merkle proof does not lead to the stated root."""

    reason = "PROOF_INVALID"
    seen_by = "caller, auditor"
    remedy = "Keep the proof: it is evidence that the log or the sender contradicts itself."


class CreditCodeInvalid(CryptoError):
    """A unified social credit code is malformed or its check character is wrong (GB 32100)."""

    reason = "CREDIT_CODE_INVALID"
    seen_by = "operator, caller"
    remedy = "Type the 18 characters as on the organisation's certificate."


class CertificateInvalid(CryptoError):
    """A certificate is ill-formed, of another algorithm, or its signature does not verify under its issuer's key."""

    reason = "CERTIFICATE_INVALID"
    seen_by = "operator, auditor"
    remedy = (
        "Have it issued again with SM2 and SM3 under the user id 1234567812345678; OpenSSL before 4.0 signs under an "
        "empty id unless it is given `-sigopt distid:1234567812345678`."
    )


class CertificateExpired(CryptoError):
    """The time that is asked about is after a certificate's last second."""

    reason = "CERTIFICATE_EXPIRED"
    seen_by = "operator, auditor"
    remedy = "Have the certificate that the message names issued again, and check this machine's clock."


class CertificateNotYetValid(CryptoError):
    """The time that is asked about is before a certificate's first second."""

    reason = "CERTIFICATE_NOT_YET_VALID"
    seen_by = "operator, auditor"
    remedy = "Check this machine's clock; if it is right, wait until the time that the message names."


class CertificateChainBroken(CryptoError):
    """No chain of certificates leads from this one to one that is trusted."""

    reason = "CERTIFICATE_CHAIN_BROKEN"
    seen_by = "operator, auditor"
    remedy = "Put the certificate of the issuer that the message names into the chain, or among the trusted ones."


class CertificateRevoked(CryptoError):
    """Its issuer revoked a certificate, at the time and for the reason that the details give."""

    reason = "CERTIFICATE_REVOKED"
    seen_by = "operator, auditor"
    remedy = "Use the certificate that replaced it; what was signed before the date of a compromise is judged by hand."


class CertificateUsage(CryptoError):
    """A certificate may not be used for this: its key usage, its constraints or a critical extension forbid it."""

    reason = "CERTIFICATE_USAGE"
    seen_by = "operator, auditor"
    remedy = "Use the other certificate of the pair: one is for signatures, one for encryption, neither issues others."


class CertificateRequestInvalid(CryptoError):
    """A request for a certificate is ill-formed, is not signed by the key that it is for, or names another member."""

    reason = "CERTIFICATE_REQUEST_INVALID"
    seen_by = "operator"
    remedy = "Make the request again with `kiteline keys request`, or OpenSSL with `-sigopt distid:1234567812345678`."


class RevocationListInvalid(CryptoError):
    """A revocation list is ill-formed, or its signature does not verify under its issuer's key."""

    reason = "CRL_INVALID"
    seen_by = "operator, auditor"
    remedy = "Fetch the list again from its issuer."


class RevocationListMissing(CryptoError):
    """Whether a certificate was revoked is asked, and there is no list of its issuer."""

    reason = "CRL_MISSING"
    seen_by = "operator, auditor"
    remedy = "Fetch the list of the issuer that the message names; `kiteline ca crl` makes one."


class RevocationListExpired(CryptoError):
    """The newest list of an issuer should have been followed by another by now."""

    reason = "CRL_EXPIRED"
    seen_by = "operator, auditor"
    remedy = "Fetch the newest list of the issuer that the message names; `kiteline ca crl` makes one."


class RevocationListNotYetValid(CryptoError):
    """Each list of an issuer was made after the time that is asked about."""

    reason = "CRL_NOT_YET_VALID"
    seen_by = "operator, auditor"
    remedy = "Check this machine's clock, or give the list that was in force at that time."
