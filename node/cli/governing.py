"""`kiteline chain admit, approve, proposals, propose …`: the consortium's membership, by proposals that its authorities approve."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypto.sm3 import sm3
from node.cli.output import Output, pairs, table
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, passphrase, reporting, settings_of
from node.errors import ProposalInvalid
from node.model.chain import MemberStatus, Role

if TYPE_CHECKING:  # web3 takes a second to import
    from node.app.council import Council, Motion, Proposed
    from node.chain.proposals import Change

MAX_THRESHOLD = 2**16 - 1
_MEMBER_HELP = "The member, by its credit code."
_VERBS = {
    MemberStatus.ACTIVE: "reinstate",
    MemberStatus.SUSPENDED: "suspend",
    MemberStatus.REMOVED: "remove",
    MemberStatus.NONE: "status",  # which no contract carries out, and whoever proposed it used no program of ours
}

propose = typer.Typer(
    no_args_is_help=True, help="Propose a change of membership. It counts as this authority's approval."
)
MemberArgument = Annotated[str, typer.Argument(help=_MEMBER_HELP)]

proposals_epilog = "Example: kiteline chain proposals --open; kiteline chain proposals 3"
admit_epilog = "Example: kiteline chain admit health/admission.json --config civil/kiteline.toml"
approve_epilog = "Example: kiteline chain approve 3 --config civil/kiteline.toml"


def proposals(
    number: Annotated[int | None, typer.Argument(min=1, help="Show this one in full.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Leave out those that were carried out.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """List the proposals on the chain: what each would do, who approved it, and how many approvals are still needed."""
    with reporting(as_json=as_json) as output:
        from node.app.council import council  # noqa: PLC0415 - web3 takes a second to import

        found = council(settings_of(config), passphrase(), now_ms)
        if number is not None:
            _show_one(output, found, number)
            return
        shown = [motion for motion in found.motions if not (only_open and motion.proposal.executed)]
        document = {
            "threshold": found.threshold,
            "authorities": found.authorities,
            "proposals": [_document(motion) for motion in shown],
        }
        rows = [
            (
                motion.proposal.number,
                _says(motion.change),
                motion.subject,
                ", ".join(_approver(motion)),
                _state(motion),
            )
            for motion in shown
        ]
        columns = ("no", "proposal", "name", "approved by", "state")
        title = f"Proposals: {found.threshold} of {found.authorities} authorities carry one"
        output.result(document, table(title, columns, rows, right=("no",), folds=("name", "approved by")))
        if not rows:
            output.note("There are none.")


def admit(
    admission: Annotated[Path, typer.Argument(help="The member's admission file.", exists=True, dir_okay=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Propose a member; with a threshold of one it is admitted at once. Authorities only."""
    with reporting(as_json=as_json) as output:
        from node.app.admission import read_admission  # noqa: PLC0415 - likewise

        _propose(output, config, read_admission(admission))


def approve(
    proposal: Annotated[
        int, typer.Argument(min=1, help="Number of the proposal, as `kiteline chain proposals` shows it.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Approve a proposal of another authority. The approval that makes it enough carries the proposal out."""
    with reporting(as_json=as_json) as output:
        from node.app import council  # noqa: PLC0415 - likewise

        _show_done(output, council.approve(settings_of(config), passphrase(), proposal, now_ms))


@propose.command(epilog="Example: kiteline chain propose suspend 113707000042591160")
def suspend(member: MemberArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Suspend a member: its account acts for nobody and no node delivers to it until it is reinstated."""
    with reporting(as_json=as_json) as output:
        from node.app.council import status_change  # noqa: PLC0415 - likewise

        _propose(output, config, status_change(member, MemberStatus.SUSPENDED))


@propose.command(epilog="Example: kiteline chain propose reinstate 113707000042591160")
def reinstate(member: MemberArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Reinstate a suspended member, with the roles and keys that it has."""
    with reporting(as_json=as_json) as output:
        from node.app.council import status_change  # noqa: PLC0415 - likewise

        _propose(output, config, status_change(member, MemberStatus.ACTIVE))


@propose.command(epilog="Example: kiteline chain propose remove 113707000042591160")
def remove(
    member: MemberArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the member's credit code again.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Remove a member for good: neither its id nor its accounts can be used again."""
    if not yes and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here; give --yes", param_hint="--yes")
    with reporting(as_json=as_json) as output:
        from node.app.council import status_change  # noqa: PLC0415 - likewise

        change = status_change(member, MemberStatus.REMOVED)
        if not yes:
            output.note("A removal that is carried out cannot be undone; a suspension can.")
            if typer.prompt("Type the member's credit code to go on", err=True) != member:
                raise typer.BadParameter("that is not the member; nothing was proposed", param_hint="member")
        _propose(output, config, change)


@propose.command(epilog="Example: kiteline chain propose role 113707000042591160 department,auditor")
def role(
    member: MemberArgument,
    roles: Annotated[
        str, typer.Argument(help="All its roles from then on: department, authority, auditor; comma-separated.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Give a member other roles."""
    with reporting(as_json=as_json) as output:
        from node.app.admission import parse_roles  # noqa: PLC0415 - likewise
        from node.app.council import roles_change  # noqa: PLC0415 - likewise

        _propose(output, config, roles_change(member, parse_roles(roles)))


@propose.command(epilog="Example: kiteline chain propose threshold 2")
def threshold(
    approvals: Annotated[
        int, typer.Argument(min=1, max=MAX_THRESHOLD, help="Approvals that a proposal needs from then on.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Need another number of approvals. The contract refuses more than there are active authorities."""
    with reporting(as_json=as_json) as output:
        from node.chain.proposals import ThresholdChange  # noqa: PLC0415 - likewise

        _propose(output, config, ThresholdChange(approvals))


@propose.command(epilog="Example: kiteline chain propose recover health/admission.json --config civil/kiteline.toml")
def recover(
    admission: Annotated[
        Path,
        typer.Argument(
            help="The admission file that the member made anew, with its new keys.", exists=True, dir_okay=False
        ),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Put new keys in force for a member that lost its account, or whose account is in others' hands."""
    with reporting(as_json=as_json) as output:
        from node.app.council import recovery  # noqa: PLC0415 - likewise

        _propose(output, config, recovery(admission))


def now_ms() -> int:
    """Unix time, ms."""
    return time.time_ns() // 1_000_000


def _propose(output: Output, config: Path, change: Change) -> None:
    from node.app import council  # noqa: PLC0415 - likewise

    _show_done(output, council.propose(settings_of(config), passphrase(), change, now_ms))


def _show_done(output: Output, done: Proposed) -> None:
    output.result({"proposal": done.number, "transaction": done.transaction_hash.hex(), "missing": done.missing})
    if done.missing:
        output.note(
            f"{done.missing} more must approve: other authorities look at it with `kiteline chain proposals {done.number}` and run "
            f"`kiteline chain approve {done.number}`."
        )
    else:
        output.note("It is carried out.")


def _show_one(output: Output, council: Council, number: int) -> None:
    motion = next((one for one in council.motions if one.proposal.number == number), None)
    if motion is None:
        raise ProposalInvalid(f"no proposal has the number {number}", proposal=str(number))
    document = _document(motion)
    drawn = {
        "proposal": f"{number}: {_says(motion.change)}",
        **{name: value for name, value in document.items() if name in _DETAILS and value},
        "proposed": f"by {motion.proposal.proposer} in block {motion.proposal.block:,}",
        "approved_by": _approver(motion),
        "state": _state(motion),
    }
    output.result(document, pairs(drawn))


_DETAILS = ("member", "name", "roles", "account", "endpoint", "signing_key", "encryption_key", "certificate_sm3")


def _document(motion: Motion) -> dict[str, object]:
    proposal = motion.proposal
    return {
        "number": proposal.number,
        "state": "executed" if proposal.executed else "open",
        "kind": _kind(motion.change),
        "name": motion.subject,
        **_details(motion.change),
        "proposer": proposal.proposer,
        "block": proposal.block,
        "executed_block": proposal.executed_block,
        "approvals": [
            {"member": approval.member_id, "name": approval.name, "counts": approval.counts}
            for approval in motion.approvals
        ],
        "missing": motion.missing,
    }


def _details(change: Change) -> dict[str, object]:
    """What the change is about, by its fields. Keys in hexadecimal, to be compared with what the member says they are."""
    from node.chain.admission import Admission  # noqa: PLC0415 - likewise
    from node.chain.proposals import Recovery, RolesChange, ThresholdChange  # noqa: PLC0415 - likewise

    if isinstance(change, ThresholdChange):
        return {"threshold": change.threshold}
    found: dict[str, object] = {"member": change.member_id}
    if isinstance(change, Admission | RolesChange):
        found["roles"] = _names(change.roles)
    if isinstance(change, Admission | Recovery):
        keys = change.keys
        found |= {
            "account": keys.account,
            "endpoint": keys.endpoint,
            "signing_key": keys.signing_key.hex(),
            "encryption_key": keys.encryption_key.hex(),
            "certificate_sm3": sm3(keys.certificate).hex(),
        }
    return found


def _kind(change: Change) -> str:
    from node.chain.admission import Admission  # noqa: PLC0415 - likewise
    from node.chain.proposals import Recovery, RolesChange, StatusChange  # noqa: PLC0415 - likewise

    match change:
        case Admission():
            return "admit"
        case Recovery():
            return "recover"
        case RolesChange():
            return "role"
        case StatusChange(_, status):
            return _VERBS[status]
        case _:
            return "threshold"


def _says(change: Change) -> str:
    """The change in a line, as one would propose it."""
    details = _details(change)
    about = [details.get("member"), details.get("threshold")]
    roles = details.get("roles")
    about += [",".join(roles)] if isinstance(roles, list) else []
    return " ".join([_kind(change), *(str(part) for part in about if part is not None)])


def _names(roles: Role) -> list[str]:
    return [str(one.name).lower() for one in Role if one in roles]


def _approver(motion: Motion) -> list[str]:
    return [
        (approval.name or approval.member_id) + ("" if approval.counts or motion.proposal.executed else " (lapsed)")
        for approval in motion.approvals
    ]


def _state(motion: Motion) -> str:
    if motion.proposal.executed_block is not None:
        return f"carried out in block {motion.proposal.executed_block:,}"
    return f"open, {motion.missing} more needed"
