"""A checkpoint has one spelling, and everything else is one refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import MAX_SIZE, Checkpoint, parse_checkpoint
from audit.errors import EntryInvalid
from tests.audit.conftest import ORIGIN

ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@given(size=st.integers(0, MAX_SIZE), root=st.binary(min_size=32, max_size=32), time_ms=st.integers(0, MAX_SIZE))
def test_a_checkpoint_reads_back_as_it_was_written(size: int, root: bytes, time_ms: int) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root, time_ms)
    assert parse_checkpoint(checkpoint.to_text()) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n07\n{ROOT}\ntime 1\n",
        f"{ORIGIN}\n7\n{ROOT}\ntime 01\n",
        f"{ORIGIN}\n7\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT}\ntime 1",
        f"{ORIGIN}\n7\n{ROOT}\ntime 1\nmore\n",
        f"{ORIGIN}\n7\n{ROOT[:-1]}\ntime 1\n",
        f"{ORIGIN}\n7\n{ROOT[:-2]}9=\ntime 1\n",
        f"{ORIGIN}\n7\nАAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\ntime 1\n",
        f"{ORIGIN}\n{MAX_SIZE + 1}\n{ROOT}\ntime 1\n",
        f"elsewhere\n7\n{ROOT}\ntime 1\n",
        "",
    ],
    ids=["size", "time", "short", "cut", "long", "padding", "bits", "cyrillic", "range", "origin", "empty"],
)
def test_another_spelling_is_one_refusal(text: str) -> None:
    with pytest.raises(EntryInvalid):
        parse_checkpoint(text)
