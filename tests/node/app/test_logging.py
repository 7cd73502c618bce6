"""The node's own log: one JSON object a line where a program reads it, aligned text on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime

PROGRAM = """
import logging, sys
from node.app.logging import configure_logging
logger = configure_logging(as_json=sys.argv[1] == "json")
logger.info("serving", address="127.0.0.1:7001", member="潍坊")
logger.debug("not shown")
try:
    raise ValueError("a defect\\nof two lines")
except ValueError:
    logger.exception("call_failed", incident="0011")
logging.getLogger("some.library").warning("beware")
"""


def _logged(form: str) -> list[str]:
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert finished.stdout == "", "the log is on standard error alone"
    return finished.stderr.splitlines()


def test_each_event_is_one_json_object_a_line_with_its_time_and_level() -> None:
    serving, failed, library = map(json.loads, _logged("json"))
    assert (serving["event"], serving["level"], serving["member"]) == ("serving", "info", "潍坊")
    assert (failed["event"], failed["level"], failed["incident"]) == ("call_failed", "error", "0011")
    assert "ValueError: a defect\nof two lines" in failed["exception"]
    assert (library["event"], library["library"], library["message"]) == ("library", "some.library", "beware")
    for event in (serving, failed, library):
        assert datetime.fromisoformat(event["timestamp"]).utcoffset() is not None


def test_people_get_text() -> None:
    first = _logged("text")[0]
    assert "serving" in first
    assert not first.startswith("{")
