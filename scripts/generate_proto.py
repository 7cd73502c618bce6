"""Generate the Python modules of every .proto file, next to it; with `--check`, only say what is out of date.

Generated files are committed, so that nothing needs a protocol compiler but whoever changes an interface. The same
compiler gives the same bytes; `grpcio-tools` is held at one version by the lock file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc  # type: ignore[import-untyped]  # the compiler ships no types

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


def main() -> int:
    """Generate, or compare: 0 when all is well, 1 when the compiler refused a file or something is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    arguments = parser.parse_args()
    wanted = generate(PROTO)
    if wanted is None:
        return 1
    stale = out_of_date(PROTO, wanted)
    if arguments.check:
        for name in stale:
            print(f"out of date: proto/{name}")
        return 1 if stale else 0
    for name in stale:
        path = PROTO / name
        if name in wanted:
            path.write_bytes(wanted[name])
        else:
            path.unlink()
        print(f"{'wrote' if name in wanted else 'removed'} proto/{name}")
    return 0


def generate(source: Path) -> dict[str, bytes] | None:
    """The generated files by their path under `source`; None if the compiler refused, which it explains itself."""
    names = sorted(str(path.relative_to(source)) for path in source.rglob("*.proto"))
    with TemporaryDirectory() as held, well_known_types() as well_known:
        options = [f"--proto_path={source}", f"--proto_path={well_known}"]
        outputs = [f"--python_out={held}", f"--pyi_out={held}", f"--grpc_python_out={held}"]
        if protoc.main(["protoc", *options, *outputs, *names]) != 0:
            return None
        return contents(Path(held))


@contextmanager
def well_known_types() -> Iterator[Path]:
    """The folder of google/protobuf/*.proto that the compiler brings."""
    with as_file(files("grpc_tools") / "_proto") as folder:
        yield folder


def contents(folder: Path) -> dict[str, bytes]:
    """What is generated in a folder, by relative path. Files without a service give no `_pb2_grpc` worth keeping."""
    found = {str(path.relative_to(folder)): path for pattern in GENERATED for path in folder.rglob(pattern)}
    return {name: path.read_bytes() for name, path in found.items() if not _is_empty_service(path)}


def out_of_date(folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """The paths whose content differs from what is wanted, missing and left-over ones among them."""
    held = {str(path.relative_to(folder)): path.read_bytes() for pattern in GENERATED for path in folder.rglob(pattern)}
    return sorted(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))


def _is_empty_service(path: Path) -> bool:
    return path.name.endswith("_pb2_grpc.py") and "class " not in path.read_text()


if __name__ == "__main__":
    sys.exit(main())
