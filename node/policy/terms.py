"""What may be asked for, and what may be answered: requests against descriptions, decisions against requests."""

from __future__ import annotations

from collections.abc import Sequence

from node.errors import DatasetNotShared, StatementInvalid, TermsInvalid
from node.model.chain import DatasetOnChain, SharingType
from node.model.grants import Terms
from node.model.statements import Description, Request


def check_request(request: Request, dataset: DatasetOnChain, now_ms: int) -> None:
    """Raise unless the request may be made of this dataset. Fields are judged by the provider, who knows them all."""
    if dataset.sharing_type is SharingType.NOT_SHARED:
        raise DatasetNotShared("the dataset's sharing type is: not shared")
    if request.provider_id != dataset.provider_id or request.dataset_id != dataset.dataset_id:
        raise StatementInvalid("the request names another provider than the dataset's")
    if request.requester_id == dataset.provider_id:
        raise StatementInvalid("a provider needs no grant for its own dataset")
    if request.expiry_seconds * 1000 <= now_ms:
        raise StatementInvalid("the expiry asked for has passed")


def check_fields(fields: Sequence[str], description: Description) -> None:
    """Raise StatementInvalid for a field that the dataset does not have."""
    unknown = [name for name in fields if name not in description.field_names]
    if unknown:
        raise StatementInvalid(f"the dataset has no field {unknown[0]!r}", field=unknown[0])


def narrow(request: Request, description: Description, wanted: Terms, now_ms: int) -> Terms:
    """The terms of an approval. In `wanted`, empty fields, 0 expiry and 0 quota mean: as asked.

    Raises:
        TermsInvalid: wider than what was asked for, or void.
    """
    asked = request.fields or description.field_names
    chosen = wanted.fields or request.fields
    unknown = [name for name in chosen if name not in description.field_names]
    if unknown:
        raise TermsInvalid(f"the dataset has no field {unknown[0]!r}", field=unknown[0])
    wider = [name for name in chosen if name not in asked]
    if wider:
        raise TermsInvalid(f"the field {wider[0]!r} was not asked for", field=wider[0])
    if len(set(chosen)) != len(chosen):
        raise TermsInvalid("a field is named twice")
    terms = Terms(chosen, wanted.expiry_seconds or request.expiry_seconds, wanted.quota or request.quota)
    if terms.expiry_seconds > request.expiry_seconds:
        raise TermsInvalid("the expiry is later than asked for")
    if terms.expiry_seconds * 1000 <= now_ms:
        raise TermsInvalid("the expiry has passed")
    if not 0 < terms.quota <= request.quota:
        raise TermsInvalid("the quota is higher than asked for")
    return terms
