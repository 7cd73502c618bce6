"""Tests."""

from __future__ import annotations

import pytest

# Its judgements are assertions too, and should say what they compared.
pytest.register_assert_rewrite("tests.contracts.chronicle")
