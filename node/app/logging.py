"""Structured logs: one JSON object a line on standard error, or aligned text on a terminal.

Events have names and fields, no sentences; no key material, no record and no query key is ever a field.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, as_json: bool) -> structlog.typing.FilteringBoundLogger:
    """Set up structlog for this process and give the node's logger."""
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING)
    return structlog.get_logger("kiteline")  # type: ignore[no-any-return]  # structlog types its factory as Any


class _Libraries(logging.Handler):
    """What libraries say goes the same way, from warnings upwards, so that every line of the log is of one form."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger("kiteline")
        logger.log(
            record.levelno, "library", library=record.name, message=record.getMessage(), exc_info=record.exc_info
        )
