"""What each call costs in gas: one fixed scenario, measured on a real chain and kept in `gas.toml`.

`python -m tests.contracts.gas_table` writes the file (`make gen` does); a test measures anew and compares to the unit, so that no change of a
contract changes its cost unseen. Everything that gas depends on is fixed: accounts, ids, sizes, order. A certificate has 600 bytes here, as a
real one may.
"""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

import tomli_w
from eth_account import Account
from web3 import HTTPProvider, Web3

from tests.contracts.keys import with_field
from tests.contracts.world import (
    ACTIVE,
    AUDITOR,
    AUTHORITY,
    CONDITIONAL,
    DEPARTMENT,
    REMOVED,
    SUSPENDED,
    KeySet,
    Member,
    World,
    dataset_id,
    numbered,
)
from tests.support.anvil import Anvil

FILE = Path(__file__).resolve().parent / "gas.toml"
HEAD = "# Gas of each call, in the order of one scenario. Written by `make gen`; the tests compare it to the unit.\n\n"
CERTIFICATE = b"\x30" + bytes(range(1, 100)) * 6 + b"\x31" * 5  # 600 bytes, none of them zero
ROOT, NOTE, FAR = b"\x11" * 32, b"\x12" * 32, 2**40  # FAR: Unix seconds
DATASET, OTHER_DATASET = dataset_id(1, 1), dataset_id(1, 2)
GRANTS = [bytes([number]) * 32 for number in range(0x21, 0x25)]
BATCHES = (1, 10, 50)


def fixed_member(number: int, roles: int = DEPARTMENT, account: int = 0) -> Member:
    """The member of a number, with the same account in every run; `account` picks another one."""
    return Member(numbered(number), f"第{number}局", roles, Account.from_key(f"{number:032x}{account + 1:032x}"))


def real_keys(member: Member) -> KeySet:
    """A member's keys with a certificate of a real one's length."""
    return with_field(member.keys, "certificate", CERTIFICATE)


class Scenario:
    """The calls, one after the other; `table` has what each used."""

    def __init__(self, web3: Web3) -> None:
        self.table: dict[str, int] = {}
        self._used: dict[str, list[int]] = {}
        self._world = World(web3, self._used, set())
        self._first, self._second = (fixed_member(number, DEPARTMENT | AUTHORITY) for number in (1, 2))
        self._third = fixed_member(3)

    def run(self) -> dict[str, int]:
        """Make every call and give the table."""
        self._world.found([self._first, self._second, self._third], threshold=2)
        self.table |= {title: figures[-1] for title, figures in self._used.items()}
        self._anchors()
        self._catalogue()
        self._grants()
        self._members()
        return self.table

    def _call(self, call: str, what: str, by: Member, *arguments: object) -> None:
        self._world.send(call, by, *arguments)
        title = f"{call}: {what}" if what else call
        if title in self.table:
            raise AssertionError(f"two rows of one title: {title}")
        self.table[title] = self._used[call][-1]

    def _anchors(self) -> None:
        log = b"\xaa" * 32
        self._call("Anchors.anchor", "the first head of a log", self._first, log, 5, ROOT, NOTE)
        self._call("Anchors.anchor", "a later head", self._first, log, 6, NOTE, ROOT)
        for count in BATCHES:
            logs = [bytes([count, number + 1]) * 16 for number in range(count)]
            for size, which in ((5, "first"), (6, "later")):
                heads = [(one, size, ROOT if size == 5 else NOTE, NOTE) for one in logs]
                self._call("Anchors.anchorMany", f"{count} {which}", self._first, heads)

    def _catalogue(self) -> None:
        for dataset, what in ((DATASET, "the first"), (OTHER_DATASET, "another")):
            self._call("Catalogue.register", what, self._first, dataset, ROOT, 2, CONDITIONAL)
        self._call("Catalogue.update", "", self._first, DATASET, NOTE, 3, CONDITIONAL)
        self._call("Catalogue.setHead", "the first", self._first, DATASET, 5, ROOT, NOTE)
        self._call("Catalogue.setHead", "a later one", self._first, DATASET, 6, NOTE, ROOT)
        self._call("Catalogue.withdraw", "", self._first, OTHER_DATASET)

    def _grants(self) -> None:
        for number, grant in enumerate(GRANTS, start=1):
            self._call("Grants.request", f"number {number}", self._third, grant, DATASET, NOTE)
        self._call("Grants.approve", "", self._first, GRANTS[0], ROOT, FAR, 12)
        self._call("Grants.deny", "", self._first, GRANTS[1], NOTE)
        self._call("Grants.advance", "the first receipt", self._first, GRANTS[0], 1, ROOT)
        self._call("Grants.advance", "a later one", self._first, GRANTS[0], 2, NOTE)
        for count in (2, 10):
            advances = [(GRANTS[0], 2 + count * 10 + number, NOTE) for number in range(count)]
            self._call("Grants.advanceMany", f"{count} of one grant", self._first, advances)
        self._call("Grants.revoke", "", self._first, GRANTS[0], NOTE)
        self._call("Grants.close", "a request", self._third, GRANTS[2])

    def _members(self) -> None:
        third, newcomer = self._third, fixed_member(4)
        self._call("Members.rotateKeys", "the same account", third, real_keys(third), 1)
        rotated = fixed_member(3, account=1)
        self._call("Members.rotateKeys", "another account", third, real_keys(rotated), 2)
        self._call("Members.declareCompromise", "the first of an epoch", rotated, 1, 1, 2)
        self._call("Members.declareCompromise", "of another kind", rotated, 1, 2, 2)
        self._call("Members.declareCompromise", "a former account", rotated, 1, 3, 2)
        self._call("Members.declareCompromises", "of two epochs", rotated, [1, 2], 4, 2)
        admission = (newcomer.id, newcomer.name, newcomer.roles, real_keys(newcomer))
        self._decide(1, "Admission", admission)
        self._decide(2, "Status", rotated.id, SUSPENDED)
        self._decide(3, "Recovery", rotated.id, real_keys(fixed_member(3, account=2)))
        self._decide(4, "Roles", newcomer.id, DEPARTMENT | AUTHORITY | AUDITOR)
        self._world.send("Members.proposeStatus", self._first, rotated.id, ACTIVE)
        self._world.send("Members.approve", self._second, 5)
        self._world.send("Members.proposeStatus", self._first, rotated.id, REMOVED)
        self._world.send("Members.approve", self._second, 6)
        self._decide(7, "Threshold", 3)
        self._world.send("Members.proposeThreshold", self._first, 2)
        self._call("Members.approve", "one that is not enough", self._second, 8)

    def _decide(self, number: int, kind: str, *arguments: object) -> None:
        self._call(f"Members.propose{kind}", "", self._first, *arguments)
        self._call("Members.approve", f"carries out propose{kind}", self._second, number)


def measure(web3: Web3) -> dict[str, int]:
    """Gas by call."""
    return Scenario(web3).run()


def recorded() -> dict[str, int]:
    """The file's table."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def text(table: dict[str, int]) -> str:
    """The file's text."""
    return HEAD + tomli_w.dumps(table)


def main() -> None:
    """Measure on a chain of its own and write the file."""
    with tempfile.TemporaryDirectory() as directory, Anvil(Path(directory)) as anvil:
        FILE.write_text(text(measure(Web3(HTTPProvider(anvil.url)))), encoding="utf-8")


if __name__ == "__main__":
    main()
