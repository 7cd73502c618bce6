"""Round trips, and bytes that were changed: one of our errors or something that is written as it was read."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from crypto.certificates.certificate import Certificate
from crypto.certificates.extensions import Extensions, KeyUsage, read_extensions
from crypto.certificates.forms import dotted, encode_time, read_time, undotted
from crypto.certificates.names import Name
from crypto.certificates.request import CertificateRequest, make_request
from crypto.certificates.revocation import RevocationList, RevocationReason, Revoked
from crypto.der import Reader
from crypto.errors import CertificateInvalid, CertificateRequestInvalid, EncodingInvalid, RevocationListInvalid
from crypto.sm2 import pem_blocks
from tests.crypto.certificates.authorities import AT, ROOT, SIGNER, UNDER, held, listed

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
attributes = st.tuples(st.sampled_from(["CN", "O", "OU", "L", "1.2.3.4"]), words)
names = st.lists(attributes, min_size=1, max_size=5).map(lambda found: Name.of(*found))
usages = st.integers(0, (1 << 9) - 1).map(KeyUsage)
ids = st.none() | st.binary(min_size=1, max_size=32)


@cache
def sample(kind: str) -> bytes:
    root = held(ROOT)
    if kind == "certificate":
        return held(SIGNER, held(UNDER, root)).certificate.to_der()
    if kind == "list":
        reasons = [Revoked(5 + n, AT, reason) for n, reason in enumerate(RevocationReason)]
        return listed(root, *reasons).to_der()
    return pem_blocks(make_request(root.signer, SIGNER.subject))[0][1]


@given(names)
def test_a_name_reads_back_from_its_bytes_and_from_its_spelling(name: Name) -> None:
    read = Name.read(Reader(name.der).element(0x30))
    assert (read, read.der) == (name, name.der)
    assert Name.parse(str(name)) == name


@given(words)
def test_any_text_that_is_a_name_is_spelled_as_the_writer_spells_it(text: str) -> None:
    for candidate in (text, f"CN={text}", f"CN=a,{text}=b"):
        with suppress(EncodingInvalid):
            assert str(Name.parse(candidate)) == candidate


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - the zone is put on below
def test_a_time_reads_back_to_the_second(at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    reader = Reader(encode_time(at))
    assert read_time(reader) == at.replace(microsecond=0)
    assert reader.at_end


@given(st.booleans(), st.none() | st.integers(0, 9), st.none() | usages, ids, ids)
def test_extensions_read_back(
    authority: bool,  # noqa: FBT001 - hypothesis passes it so
    length: int | None,
    usage: KeyUsage | None,
    subject: bytes | None,
    issuer: bytes | None,
) -> None:
    written = Extensions(authority, length if authority else None, usage, subject, issuer)
    assert read_extensions(Reader(written.encode()).sequence()) == written


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 1 << 60), max_size=5))
def test_an_object_identifier_reads_back(first: int, second: int, rest: list[int]) -> None:
    text = ".".join(map(str, [first, second, *rest]))
    assert dotted(undotted(text)) == text


@pytest.mark.parametrize("kind", ["certificate", "request", "list"])
@given(data=st.data())
def test_changed_bytes_are_refused_with_one_of_our_errors_or_kept_as_they_are(kind: str, data: st.DataObject) -> None:
    raw = bytearray(sample(kind))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.just(len(raw)) | st.integers(0, len(raw)))]
    reader = {"certificate": Certificate, "request": CertificateRequest, "list": RevocationList}[kind]
    with suppress(CertificateInvalid, CertificateRequestInvalid, RevocationListInvalid):
        assert reader.from_der(bytes(raw)).to_der() == bytes(raw)  # type: ignore[attr-defined]


def test_another_reader_finds_the_same_in_what_we_write() -> None:
    ours, theirs = Certificate.from_der(sample("certificate")), x509.load_der_x509_certificate(sample("certificate"))
    assert (theirs.serial_number, theirs.not_valid_before_utc, theirs.not_valid_after_utc) == (
        ours.serial,
        ours.not_before,
        ours.not_after,
    )
    assert theirs.subject.public_bytes() == ours.subject.der
    usage = theirs.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.content_commitment
    assert not usage.value.key_cert_sign
    reasons = {one.serial_number for one in x509.load_der_x509_crl(sample("list"))}
    assert reasons == {one.serial for one in RevocationList.from_der(sample("list")).revoked}
