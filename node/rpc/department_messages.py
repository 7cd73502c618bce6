"""What the department's programs are told: from the use cases' results to the wire."""

from __future__ import annotations

from collections.abc import Mapping

from audit.trail import Trail
from kiteline.exchange.v1 import department_pb2 as pb
from kiteline.exchange.v1.statement_pb2 import Dataset
from node.errors import StatementInvalid
from node.exchange.granting import Wish
from node.exchange.publishing import Offer
from node.model.chain import GrantState, SharingType
from node.model.grants import Terms
from node.model.lines import FieldDescription
from node.model.results import CatalogueEntry, FetchProgress, GrantSummary
from node.rpc import shapes
from node.rpc.faces import NodeStatus

_SHARING: Mapping[SharingType, pb.SharingType] = {
    SharingType.UNCONDITIONAL: pb.SHARING_TYPE_UNCONDITIONAL,
    SharingType.CONDITIONAL: pb.SHARING_TYPE_CONDITIONAL,
    SharingType.NOT_SHARED: pb.SHARING_TYPE_NOT_SHARED,
}
_SHARING_MEANT = {wire: meant for meant, wire in _SHARING.items()}
_STATES: Mapping[GrantState, pb.GrantState] = {
    GrantState.REQUESTED: pb.GRANT_STATE_REQUESTED,
    GrantState.APPROVED: pb.GRANT_STATE_APPROVED,
    GrantState.DENIED: pb.GRANT_STATE_DENIED,
    GrantState.REVOKED: pb.GRANT_STATE_REVOKED,
    GrantState.CLOSED: pb.GRANT_STATE_CLOSED,
}


def offer_of(request: pb.DescribeDatasetRequest) -> Offer:
    """What a department offers. Raises StatementInvalid."""
    sharing_type = _SHARING_MEANT.get(request.sharing_type)
    if sharing_type is None:
        raise StatementInvalid("a dataset has one of the three sharing types", field="sharing_type")
    return Offer(
        name=request.name,
        title=request.title,
        fields=tuple(FieldDescription(field.name, field.title) for field in request.fields),
        key_field=request.key_field or None,
        level=request.level,
        sharing_type=sharing_type,
    )


def wish_of(request: pb.RequestGrantRequest) -> Wish:
    """What a department asks for. Raises StatementInvalid."""
    return Wish(
        dataset_id=shapes.statement_id(request.dataset_id, "dataset"),
        fields=tuple(request.fields),
        purpose=request.purpose,
        expiry_seconds=request.expiry_seconds,
        quota=request.quota,
    )


def terms_of(request: pb.DecideGrantRequest) -> Terms:
    """How an officer narrows what was asked; empty and 0: not at all."""
    return Terms(fields=tuple(request.fields), expiry_seconds=request.expiry_seconds, quota=request.quota)


def catalogue_entry(entry: CatalogueEntry) -> pb.CatalogueEntry:
    """One dataset of the catalogue."""
    dataset, description = entry.dataset, entry.description
    message = pb.CatalogueEntry(
        dataset=Dataset(dataset_id=dataset.dataset_id, provider_id=dataset.provider_id, record_count=dataset.size),
        provider_name=entry.provider_name,
        sharing_type=_SHARING[dataset.sharing_type],
        level=dataset.level,
        state=pb.DATASET_STATE_PURGED if entry.is_purged else pb.DATASET_STATE_OFFERED,
    )
    if description is not None:
        message.name = description.name
        message.title = description.title
        message.key_field = description.key_field or ""
        message.fields.extend(pb.Field(name=field.name, title=field.title) for field in description.fields)
    return message


def grant(summary: GrantSummary) -> pb.Grant:
    """One grant, with the terms in force where it has them, else with those that were asked for."""
    grant, request, terms = summary.grant, summary.request, summary.terms
    asked = terms or request
    state = _STATES[grant.state]
    if grant.state is GrantState.APPROVED and summary.is_expired:
        state = pb.GRANT_STATE_EXPIRED
    elif grant.state is GrantState.APPROVED and summary.is_used_up:
        state = pb.GRANT_STATE_USED_UP
    return pb.Grant(
        grant_id=grant.grant_id,
        dataset_id=grant.dataset_id,
        requester_id=grant.requester_id,
        provider_id=grant.provider_id,
        state=state,
        expiry_seconds=grant.expiry_seconds or (asked.expiry_seconds if asked else 0),
        quota=grant.quota or (asked.quota if asked else 0),
        used=summary.used,
        purpose=request.purpose if request else "",
        fields=asked.fields if asked else (),
        last_sequence=summary.last_sequence,
    )


def fetch_progress(progress: FetchProgress) -> pb.FetchResponse:
    """How far a fetch is."""
    message = pb.FetchResponse(
        delivered_count=progress.delivered_count,
        verified_count=progress.verified_count,
        total_count=progress.total_count,
    )
    summary = progress.summary
    if summary is not None:
        message.summary.CopyFrom(
            pb.FetchSummary(
                order_id=summary.order_id,
                record_count=summary.record_count,
                plaintext_bytes=summary.plaintext_bytes,
                elapsed_milliseconds=summary.elapsed_milliseconds,
                path=summary.path,
                root=summary.root,
                first_sequence=summary.first_sequence,
                last_sequence=summary.last_sequence,
                engine=summary.engine,
            )
        )
    return message


def trail(found: Trail) -> pb.GetTrailResponse:
    """A grant's trail."""
    return pb.GetTrailResponse(
        steps=[
            pb.TrailStep(
                member_id=step.member,
                index=step.index,
                time_milliseconds=step.entry.time_ms,
                event=step.entry.event,
                outcome="ok" if step.entry.refusal is None else f"refused {step.entry.refusal}",
                actor=step.entry.actor,
                sequence=step.sequence,
                proven=step.fault is None and not step.compromised,
                note_digest=bytes.fromhex(step.digest),
                anchor_state=found.anchor_state(step).value,
            )
            for step in found.steps
        ],
        findings=[pb.TrailFinding(kind=one.kind.value, says=one.says) for one in found.findings],
    )


def status(value: NodeStatus) -> pb.GetStatusResponse:
    """What a node says of itself."""
    networks = [pb.AnchorNetwork(**vars(one)) for one in value.anchor_networks]
    return pb.GetStatusResponse(**{**vars(value), "anchor_networks": networks})
