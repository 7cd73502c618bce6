"""What every command shares: which node, how results are shown, how errors end the program."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from crypto.errors import Refusal
from node.app.settings import FILE_NAME, Settings, load
from node.cli.errors import Interrupted, WrongUsage
from node.cli.output import Exit, Output, debugging
from node.errors import ConfigurationInvalid, InternalError

if TYPE_CHECKING:
    from node.keys.material import Means

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        envvar="KITELINE_CONFIG",
        help="The node's configuration file.",
        show_default=True,
    ),
]
JSONOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]
DEFAULT_CONFIG = Path(FILE_NAME)
# Besides those that end with that code wherever they are met (node.cli.output).
_LOG_DOES_NOT_HOLD = {"COPY_INVALID", "LOG_FORKED", "STORE_DAMAGED"}


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Output]:
    """Run a command's body: refusals are shown with their remedy and end in their exit code."""
    output = Output(as_json=as_json)
    try:
        yield output
    except Refusal as refusal:
        raise typer.Exit(output.refusal(refusal)) from refusal
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(output.refusal(Interrupted("interrupted"))) from interrupt
    except BrokenPipeError as gone:
        _close_quietly()
        raise typer.Exit(Exit.DONE) from gone


@contextmanager
def holding(*, as_json: bool) -> Iterator[Output]:
    """As `reporting`, for work on a log: a refusal that says that the log or a copy of it does not hold ends with the code for that."""
    with reporting(as_json=as_json) as output:
        try:
            yield output
        except Refusal as refusal:
            if refusal.reason not in _LOG_DOES_NOT_HOLD:
                raise
            output.refusal(refusal)
            raise typer.Exit(Exit.DOES_NOT_HOLD) from refusal


def settings_of(path: Path) -> Settings:
    """The settings, read and validated."""
    return load(path)


def passphrase() -> bytes:
    """The key files' passphrase: from the file that KITELINE_PASSPHRASE_FILE names, else from KITELINE_PASSPHRASE."""
    file = os.environ.get("KITELINE_PASSPHRASE_FILE")
    if file:
        try:
            text = Path(file).read_bytes()
        except OSError as cause:
            raise ConfigurationInvalid(f"the passphrase file cannot be read: {cause.strerror}") from cause
        value = text.removesuffix(b"\n")
    else:
        value = os.environb.get(b"KITELINE_PASSPHRASE", b"")
    if not value:
        raise ConfigurationInvalid("no passphrase: set KITELINE_PASSPHRASE_FILE or KITELINE_PASSPHRASE")
    try:
        value.decode()
    except UnicodeDecodeError as cause:
        raise ConfigurationInvalid("the passphrase is not UTF-8") from cause
    return value


def key_means(engine: str | None) -> Means:
    """What key stores are opened and made with by a command."""
    from crypto.engine import load_engine  # noqa: PLC0415 - opens libraries that most commands do without
    from node.keys.material import Means  # noqa: PLC0415 - likewise

    return Means(load_engine(engine), passphrase(), os.urandom, lambda: time.time_ns() // 1_000_000)


def run(app: typer.Typer) -> NoReturn:
    """Run the program; a defect ends with one sentence, and a traceback only where KITELINE_DEBUG=1 asks for it."""
    output = Output(as_json="--json" in sys.argv[1:])
    try:
        # Typer itself tells a person what is wrong with a command line; a script gets a document like any other.
        code = app(standalone_mode=not output.as_json)
    except SystemExit as ended:
        code = ended.code
    except typer.TyperException as wrong:
        code = output.refusal(WrongUsage(wrong.format_message()))
    except Exception as defect:
        if debugging():
            raise
        code = output.refusal(InternalError(f"{type(defect).__name__}: {defect}"))
    _leave(code if isinstance(code, int) else Exit.DONE)


def _leave(code: int) -> NoReturn:
    """End the process with what it printed, and without its destructors: a thread of Arrow's that still starts while the process
    takes itself down makes an abort of it, whatever the command's end was. Everything that matters is closed by now.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _close_quietly() -> None:
    """Standard output's reader went away; keep the interpreter from complaining about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
