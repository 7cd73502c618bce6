"""Publishing from the command line, seen from the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium

pytestmark = pytest.mark.process


@pytest.mark.parametrize(("text", "reason"), [("no,name\n", "RECORD_INVALID"), ("no,name\nk1\n", "RECORD_INVALID")])
def test_a_file_that_is_refused_at_once_leaves_no_entry_in_the_catalogue(
    consortium: LocalConsortium, tmp_path: Path, text: str, reason: str
) -> None:
    source = tmp_path / "refused.csv"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(CIVIL_AFFAIRS, "publish", str(source), "--dataset", "refused")
    assert refused.value.reason == reason
    assert consortium.kiteline(HEALTH, "catalogue", "refused")["entries"] == []
