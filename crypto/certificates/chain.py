"""Whether a certificate holds: link by link to one that is trusted (RFC 5280, section 6), at a time that is passed in.

`openssl verify` is no second opinion here: under 3.0 to 3.6 it takes the user id to the first link only. Each link is
checked for itself: names, key ids, signature, validity, constraints, usage, and the issuer's revocation list if asked.

Certificates in use are found again after an authority renewed its own under the same name, so several may be tried for
one link; the work is bounded, since who shows a chain chooses what stands in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crypto.certificates.certificate import Certificate
from crypto.certificates.extensions import KeyUsage
from crypto.certificates.revocation import RevocationList
from crypto.engine import Engine
from crypto.errors import (
    CertificateChainBroken,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    CertificateUsage,
    CryptoError,
    EncodingInvalid,
    RevocationListExpired,
    RevocationListInvalid,
    RevocationListMissing,
    RevocationListNotYetValid,
)

MAX_DEPTH = 8  # certificates from the first to the trusted one
MAX_LINKS_TRIED = 64  # signatures of links that one validation verifies at most


def validate(  # noqa: PLR0913 - what decides is spelled out at the call
    engine: Engine,
    chain: Sequence[Certificate],
    trusted: Sequence[Certificate],
    *,
    at: datetime,
    usage: KeyUsage | None = None,
    crls: Sequence[RevocationList] | None = None,
) -> tuple[Certificate, ...]:
    """Check the first certificate of `chain`; the others, in any order, may help to reach a trusted one.

    Args:
        engine: verifies the signatures.
        chain: the certificate in question, then others.
        trusted: certificates that are known from elsewhere. One that signed itself is held to that signature.
        at: the time that is asked about, with a zone; compared to the second.
        usage: what the first certificate's key is to be used for, every bit of it; None asks nothing.
        crls: None asks nothing of revocation; otherwise each certificate but the trusted one needs a list of its issuer
            that is in force at that time, and a revocation counts from its date on.

    Returns:
        The path, from the certificate in question to the trusted one.

    Raises:
        CertificateInvalid, CertificateExpired, CertificateNotYetValid, CertificateChainBroken, CertificateUsage,
        CertificateRevoked, RevocationListMissing, RevocationListExpired, RevocationListNotYetValid,
        RevocationListInvalid: what of the first path that was tried does not hold.
    """
    if at.utcoffset() is None:
        raise EncodingInvalid("a time has no zone")
    if not chain:
        raise CertificateChainBroken("there is no certificate to validate")
    first = chain[0]
    if usage is not None and not first.permits(usage):
        raise CertificateUsage(
            f"the key of {first.subject} is not for {_spelled(usage & ~(first.key_usage or usage))}",
            subject=first.subject,
        )
    search = _Search(engine, chain[1:], trusted, at.replace(microsecond=0), crls)
    return search.path((first,))


def expires_in(certificate: Certificate, at: datetime) -> timedelta:
    """How long it is valid yet, to its last second and with it; negative after that."""
    return certificate.not_after - at


@dataclass
class _Search:
    engine: Engine
    others: Sequence[Certificate]
    trusted: Sequence[Certificate]
    at: datetime
    crls: Sequence[RevocationList] | None
    tried: int = field(default=0)

    def path(self, so_far: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
        """Complete a path that has begun. Raises what the first attempt raised where none succeeds."""
        last = so_far[-1]
        self._check_itself(last)
        if last in self.trusted:
            if last.is_self_issued and _names_key(last, last):
                last.check_signed_by(self.engine, last.public_key)
            return so_far
        failure: CryptoError | None = None
        for issuer in self._issuers(so_far):
            try:
                self._check_link(so_far, issuer)
                return self.path((*so_far, issuer))
            except CryptoError as cause:
                failure = failure or cause
        raise failure or CertificateChainBroken(
            f"the certificate of {last.issuer} is wanted, which issued that of {last.subject}",
            wanted=last.issuer,
            subject=last.subject,
        )

    def _issuers(self, so_far: tuple[Certificate, ...]) -> list[Certificate]:
        """Who may have issued the last one, trusted ones and valid ones first."""
        last = so_far[-1]
        found = dict.fromkeys(
            one
            for one in (*self.trusted, *self.others)
            if one.subject == last.issuer and one not in so_far and _names_key(last, one)
        )
        return sorted(found, key=lambda one: (one not in self.trusted, not one.not_before <= self.at <= one.not_after))

    def _check_itself(self, certificate: Certificate) -> None:
        subject = certificate.subject
        if self.at < certificate.not_before:
            raise CertificateNotYetValid(
                f"the certificate of {subject} is valid from {certificate.not_before.isoformat()} on",
                subject=subject,
                not_before=certificate.not_before.isoformat(),
            )
        if self.at > certificate.not_after:
            raise CertificateExpired(
                f"the certificate of {subject} was valid until {certificate.not_after.isoformat()}",
                subject=subject,
                not_after=certificate.not_after.isoformat(),
            )
        if certificate.extensions.unknown_critical:  # RFC 5280, section 4.2
            names = ", ".join(certificate.extensions.unknown_critical)
            raise CertificateUsage(
                f"the certificate of {subject} has critical extensions that are not understood: {names}"
            )

    def _check_link(self, so_far: tuple[Certificate, ...], issuer: Certificate) -> None:
        last, name = so_far[-1], issuer.subject
        if len(so_far) >= MAX_DEPTH:
            raise CertificateChainBroken(f"no trusted certificate is among the first {MAX_DEPTH}", wanted=name)
        self.tried += 1
        if self.tried > MAX_LINKS_TRIED:
            raise CertificateChainBroken("there are too many certificates of one name to try", wanted=name)
        if not issuer.is_authority or not issuer.permits(KeyUsage.KEY_CERT_SIGN):
            raise CertificateUsage(f"the certificate of {name} does not let it issue certificates", subject=name)
        # Authorities below this one, those that only renewed themselves left out: RFC 5280, section 4.2.1.9.
        below = sum(not one.is_self_issued for one in so_far[1:])
        limit = issuer.extensions.path_length
        if limit is not None and below > limit:
            raise CertificateUsage(f"{name} may have {limit} authorities below it, and here are {below}", subject=name)
        last.check_signed_by(self.engine, issuer.public_key)
        if self.crls is not None:
            self._check_revocation(last, issuer, self.crls)

    def _check_revocation(self, certificate: Certificate, issuer: Certificate, crls: Sequence[RevocationList]) -> None:
        name = issuer.subject
        own = [one for one in crls if one.issuer == name and _list_names_key(one, issuer)]
        if not own:
            raise RevocationListMissing(f"a revocation list of {name} is wanted", wanted=name)
        made = [one for one in own if one.this_update <= self.at]
        if not made:
            raise RevocationListNotYetValid(f"each revocation list of {name} was made after that time", issuer=name)
        newest = max(made, key=lambda one: (one.this_update, -1 if one.number is None else one.number))
        if not issuer.permits(KeyUsage.CRL_SIGN):
            raise RevocationListInvalid(f"the certificate of {name} does not let it sign revocation lists", issuer=name)
        newest.check_signed_by(self.engine, issuer.public_key)
        if self.at > newest.next_update:
            raise RevocationListExpired(
                f"the revocation list of {name} was to be followed by another by {newest.next_update.isoformat()}",
                issuer=name,
                next_update=newest.next_update.isoformat(),
            )
        revoked = newest.find(certificate.serial)
        if revoked is not None and revoked.date <= self.at:
            raise CertificateRevoked(
                f"the certificate of {certificate.subject} was revoked: {revoked.reason.value}, {revoked.date.isoformat()}",
                subject=certificate.subject,
                serial=f"{certificate.serial:x}",
                date=revoked.date.isoformat(),
                revocation=revoked.reason.value,
            )


def _names_key(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the issuer's key id and serial number are the ones that a certificate names, as far as both say."""
    named, own = certificate.extensions.authority_key_id, issuer.extensions.subject_key_id
    serial = certificate.extensions.authority_serial
    return (named is None or own is None or named == own) and serial in {None, issuer.serial}


def _list_names_key(crl: RevocationList, issuer: Certificate) -> bool:
    named, own = crl.authority_key_id, issuer.extensions.subject_key_id
    return named is None or own is None or named == own


def _spelled(usage: KeyUsage) -> str:
    return ", ".join((one.name or "").lower().replace("_", " ") for one in usage)
