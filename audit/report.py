"""From files handed over to a written finding: each file's verdict, each statement, who signed it, what proves it, and what does not hold.

Pure: bytes in, one document out (for scripts), which `audit.report_page` makes into a page for people. Nothing is decided here that the verifier and the
trail do not decide; this puts them side by side.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit import verifier
from audit.entry import Entry, format_time
from audit.errors import EvidenceMalformed
from audit.trail import Finding, FindingKind, GrantFacts, Logged, build_trail
from audit.verify import signature_check
from crypto.engine import Engine
from crypto.sm3 import sm3

VERSION = 1
SUFFIXES = (".evidence", ".range")  # of the files that a report reads


@dataclass(frozen=True)
class HandedOver:
    """One file: its name, its bytes."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Verdict:
    """What became of a file. `fault`: why it is malformed; `report` then None."""

    file: HandedOver
    report: verifier.Report | None
    fault: str | None

    @property
    def proven(self) -> bool:
        """Whether every link holds, and by more than the file's own word."""
        return self.report is not None and self.report.proven

    def why_not(self) -> str | None:
        """The links that do not hold, or that only the file vouches for; None if it is proved."""
        if self.report is None:
            return self.fault
        wrong = [f"{link.name}: {link.says}" for link in self.report.links if not link.holds]
        return "; ".join(wrong) or (None if self.report.proven else verifier.verdict(self.report))


def read_directory(directory: Path) -> list[HandedOver]:
    """The evidence and range files of a directory and those below it, by name. Raises EvidenceMalformed if there is none."""
    paths = sorted(path for path in directory.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not paths:
        raise EvidenceMalformed(f"there is no file {' or '.join(SUFFIXES)} in {directory}")
    return [HandedOver(str(path.relative_to(directory)), path.read_bytes()) for path in paths]


@dataclass(frozen=True)
class Known:
    """What an auditor knows besides what the verifier needs: of grants on the chain by id, and members' names by code."""

    grants: Mapping[str, GrantFacts] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def read_known(path: Path) -> Known:
    """What a trust file knows of grants and names; nothing if it does not say. Raises EvidenceMalformed."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        grants = {grant: GrantFacts(**facts) for grant, facts in document.get("grants", {}).items()}
        return Known(grants, {str(code): str(name) for code, name in document.get("names", {}).items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise EvidenceMalformed(f"{path} is no trust file: {cause}") from cause


def make_report(
    engine: Engine,
    files: Sequence[HandedOver],
    trust: verifier.Trust,
    known: Known,
    now_ms: int,
) -> dict[str, object]:
    """The finding over files, as a document.

    Args:
        engine: verifies signatures.
        files: evidence and range files, in any order.
        trust: what the auditor knows from elsewhere.
        known: what the auditor knows of grants and names.
        now_ms: when the finding is made, Unix milliseconds.

    Returns:
        version, time, holds; `files`, each with its links; `grants`, each with its steps and findings; `findings` about no single grant;
        `names` of members, and `trust`: what the auditor knew.
    """
    check = signature_check(engine)
    verdicts = [_verdict(file, trust, check) for file in files]
    logged = _logged(verdicts)
    by_grant: defaultdict[str, list[tuple[Logged, Verdict]]] = defaultdict(list)
    for one, verdict in logged:
        by_grant[_grant_of(one)].append((one, verdict))
    other = by_grant.pop("", [])
    chapters = [_chapter(grant, found, known.grants.get(grant)) for grant, found in sorted(by_grant.items())]
    general = [*_malformed(verdicts), *_forks(verdicts), *build_trail(one for one, _ in other).findings]
    holds = all(verdict.proven for verdict in verdicts) and not general
    return {
        "version": VERSION,
        "time": format_time(now_ms),
        "holds": holds and not any(chapter["findings"] for chapter in chapters),
        "files": [_file_document(verdict) for verdict in verdicts],
        "grants": chapters,
        "others": [_step(one, verdict) for one, verdict in other],
        "findings": [_finding(one) for one in general],
        "names": dict(known.names),
        "trust": {
            "members": sorted(trust.keys),
            "blocks": len(trust.blocks),
            "contracts": sorted(address.hex() for address in trust.contracts),
            "witnesses": sorted(trust.witnesses),
            "cosignatures_needed": trust.cosignatures_needed,
            "finality_members": sorted(trust.finality_members),
            "finality_needed": trust.finality_needed,
        },
    }


def _verdict(file: HandedOver, trust: verifier.Trust, check: verifier.SignatureCheck) -> Verdict:
    try:
        return Verdict(file, verifier.verify(file.content, trust, check), None)
    except verifier.Malformed as why:
        return Verdict(file, None, str(why))


def _logged(verdicts: Sequence[Verdict]) -> list[tuple[Logged, Verdict]]:
    """Every entry once, with the file that proves it best."""
    best: dict[tuple[str, int, Entry], tuple[Logged, Verdict]] = {}
    for verdict in verdicts:
        report = verdict.report
        for proven in report.entries if report is not None else ():
            entry = Entry(**vars(proven.entry))
            member = report.member if report is not None else ""
            one = Logged(member, proven.index, entry, proven.fault or verdict.why_not(), proven.compromised)
            key = (member, proven.index, entry)
            if key not in best or best[key][0].fault is not None:
                best[key] = (one, verdict)
    return sorted(best.values(), key=lambda pair: (pair[0].entry.time_ms, pair[0].member, pair[0].index))


def _grant_of(one: Logged) -> str:
    kind, _, name = one.entry.subject.partition(":")
    return one.lines.get("grant", "") or (name if kind == "grant" else "")


def _chapter(grant: str, found: Sequence[tuple[Logged, Verdict]], facts: GrantFacts | None) -> dict[str, object]:
    trail = build_trail([one for one, _ in found], facts)
    return {
        "grant": grant,
        "compared_with_chain": facts is not None,
        "logs_of": list(trail.members),
        "steps": [_step(one, verdict) for one, verdict in found],
        "findings": [_finding(finding) for finding in trail.findings],
    }


def _malformed(verdicts: Sequence[Verdict]) -> list[Finding]:
    return [
        Finding(FindingKind.NOT_PROVEN, f"{verdict.file.name}: {verdict.why_not()}")
        for verdict in verdicts
        if not verdict.proven
    ]


def _forks(verdicts: Sequence[Verdict]) -> list[Finding]:
    """Two signed heads of one log and size with different roots: whoever signed both has forked it."""
    roots: dict[tuple[str, int], tuple[bytes, str]] = {}
    findings = []
    for verdict in verdicts:
        head = verdict.report.checkpoint if verdict.report is not None else None
        if head is None:
            continue
        held, name = roots.setdefault((head.origin, head.size), (head.root, verdict.file.name))
        if held != head.root:
            says = f"{head.member} signed two heads of its log at {head.size} entries: {name} and {verdict.file.name}"
            findings.append(Finding(FindingKind.LOG_FORKED, says))
    return findings


def _file_document(verdict: Verdict) -> dict[str, object]:
    report = verdict.report
    document: dict[str, object] = {
        "file": verdict.file.name,
        "sm3": sm3(verdict.file.content).hex(),
        "bytes": len(verdict.file.content),
        "holds": False,
        "proven": False,
        "fault": verdict.fault,
        "links": [],
    }
    if report is not None:
        document |= verifier.report_document(verdict.file.name, report)
        document |= {"first": report.first, "entries": len(report.entries), "anchored_size": report.anchored_size}
    return document


def _step(one: Logged, verdict: Verdict) -> dict[str, object]:
    entry = one.entry
    return {
        "time": format_time(entry.time_ms),
        "member": one.member,
        "index": one.index,
        "event": entry.event,
        "outcome": "ok" if entry.refusal is None else f"refused {entry.refusal}",
        "actor": entry.actor,
        "subject": entry.subject,
        "detail": entry.detail,
        "sequence": one.sequence,
        "statement": one.kind,
        "text": None if entry.note is None else entry.note.decode("utf-8", errors="replace"),
        "signed_by": list(_signers(one, verdict)),
        "proven_by": verdict.file.name,
        "fault": one.fault,
        "compromised": list(one.compromised),
        "note_digest": one.digest,
    }


def _signers(one: Logged, verdict: Verdict) -> tuple[str, ...]:
    entries = verdict.report.entries if verdict.report is not None else ()
    return next((proven.signers for proven in entries if proven.index == one.index), ())


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.kind.value,
        "says": finding.says,
        "entries": [{"member": member, "index": index} for member, index in finding.entries],
    }
