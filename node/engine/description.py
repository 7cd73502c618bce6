"""The table `engine` of a network file: how to start the network on this machine, as data.

    [engine]
    program = "node_modules/…/anvil"    # below the installation; a bare name is looked for on PATH as well
    arguments = ["--port", "{port}"]
    validators = 4                      # absent: one process, which needs no keys
    fewest = 2                          # with fewer the engine does not get ready; 1 if absent
    keys = ["account", "peer"]          # what each validator has (`node.engine.keys`); these two if absent, or "peer" where it seals
    sealing_key = "account"             # or "node-key": what a validator signs blocks with, and is known by as {account}
    files = ["genesis.json"]            # beside the network file; ${chain_id} and the like are filled in for each validator
    prepare = ["init", "{home}/genesis.json"]    # run once for each validator, after its keys and files are made
    settle = ["attach", "{home}/ipc"]   # run once for each validator at every start, when all of them answer
    block_seconds = 1                   # a block comes at least so often, with transactions or without; absent: with transactions only
    rpc_path = "/rpc"                   # where JSON-RPC is below a process's address; the address itself if absent
    ready_path = "/health"              # answers 200 when a process is ready; if absent, it is with as many blocks as validators
    [engine.lists.founders]             # a placeholder that lists validators, with commas between
    of = "all"                          # or "others": without the one that it is filled in for
    each = '{"id": "${node_id}"}'       # for each of them
    [engine.version]                    # what a program that was found must print to be used
    arguments = ["version"]
    says = "Version: 1.2.3"
    [engine.go]                         # the Go package to build it from, where it is not found
    package = "example.org/engine@v1.2.3"
    flags = []
    [engine.votes]                      # how the validators are changed while the network runs: node.engine.votes

Placeholders of arguments: `{port}`, `{chain_id}`, `{home}` (the process's directory), `{state}` (a file in it, for an engine that keeps
everything in one); with validators also `{peer_port}`, the lists, and what `node.engine.keys` names for each kind of key: of the secret ones
each can be read once. Those of files are `FILE_NAMES`, and the lists. Where transactions are paid for, `${treasury}` is the account that the
genesis gives money to.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from node.chain.network import MAX_CHAIN_ID, FeeRule
from node.chain.toml_section import Section, read_document
from node.engine.keys import DEFAULT_KEYS, EACH_NAMES, PUBLIC_NAMES, SECRET_NAMES, KeyKind
from node.engine.placeholders import check_placeholders
from node.engine.votes import Votes, read_votes
from node.errors import ConfigurationInvalid

NODE_FILE = "node-network.toml"  # in a state directory: from `node_file`
MAX_BLOCK_SECONDS = 3_600
MAX_VALIDATORS = 16  # of one machine; each takes some hundred megabytes
PLAIN_NAMES = frozenset({"port", "chain_id", "home", "state"})
FILE_NAMES = frozenset(
    {"bft_extra_data", "chain_id", "peer_port", "peers", "start_time", "treasury", "validator_accounts"}
)
ACCOUNT_SEALS, NODE_KEY_SEALS = "account", "node-key"


@dataclass(frozen=True)
class VersionCheck:
    """What a program found on this machine must print. `says`: a part of what `arguments` make it print."""

    arguments: tuple[str, ...]
    says: str


@dataclass(frozen=True)
class GoPackage:
    """What the program is built from. `package`: path of a main package and its exact version."""

    package: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class ValidatorList:
    """A placeholder that names several validators. `others`: without the one that it is filled in for; `each`: template of one."""

    others: bool
    each: str


@dataclass(frozen=True)
class EngineDescription:
    """A validated table `engine`.

    Attributes:
        folder: where the network file and its templates lie.
        validators: how many are started unless the operator says otherwise; 0 for one process without keys.
        fewest: validators without which the engine does not get ready.
        files: names of the templates.
        prepare: arguments of a run before the first start; empty for none.
        settle: arguments of a run after every start, beside the running process and before there have to be blocks; empty for none.
        block_seconds: longest time between two blocks, s; 0 where blocks come with transactions only.
        node_key_seals: whether a validator signs blocks with the key of its connections to peers, and has no other.
        votes: how validators are added and removed; None where that is not done by votes.
        keys: what each validator has.
        lists: placeholders that name several validators.
        rpc_path: of JSON-RPC below a process's address.
        ready_path: what answers 200 when a process is ready; empty where the number of blocks tells.
        treasury: whether an account is made that the genesis gives money to, because transactions are paid for.
    """

    folder: Path
    chain_id: int
    program: str
    arguments: tuple[str, ...]
    validators: int = 0
    files: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    settle: tuple[str, ...] = ()
    version: VersionCheck | None = None
    go: GoPackage | None = None
    block_seconds: int = 0
    votes: Votes | None = None
    node_key_seals: bool = False
    keys: frozenset[KeyKind] = DEFAULT_KEYS
    lists: Mapping[str, ValidatorList] = field(default_factory=dict)
    rpc_path: str = ""
    ready_path: str = ""
    treasury: bool = False
    fewest: int = 1


def load_engine(path: Path) -> EngineDescription:
    """Read the table `engine` of a network file. Raises ConfigurationInvalid naming the setting."""
    document = read_document(path)
    chain_id = document.number("chain_id", 1, MAX_CHAIN_ID)
    if not document.has("engine"):
        raise ConfigurationInvalid(f"{path} has no [engine]; this network is not run by one machine")
    section = document.section("engine")
    program = section.text("program")
    validators = section.number("validators", 1, MAX_VALIDATORS, default=0)
    fewest = section.number("fewest", 1, validators, default=1) if validators else 1
    sealing_keys = frozenset({ACCOUNT_SEALS, NODE_KEY_SEALS})
    node_key_seals = section.has("sealing_key") and section.text("sealing_key", sealing_keys) == NODE_KEY_SEALS
    keys = DEFAULT_KEYS - {KeyKind.ACCOUNT} if node_key_seals else DEFAULT_KEYS
    if validators and section.has("keys"):
        keys = _keys(section)
    lists = _lists(section.section("lists"), keys) if validators and section.has("lists") else {}
    # Secrets can be read once, by the process that is to stay.
    without_secrets = PLAIN_NAMES
    if validators:
        without_secrets |= {"peer_port", *lists, *(name for kind in keys for name in PUBLIC_NAMES[kind])}
        without_secrets |= {"account"} if node_key_seals else set()
    secrets = [name for kind in keys for name in SECRET_NAMES[kind]] if validators else []
    arguments = _arguments(section, "arguments", without_secrets | set(secrets))
    prepare = _arguments(section, "prepare", without_secrets) if validators and section.has("prepare") else ()
    settle = _arguments(section, "settle", without_secrets) if validators and section.has("settle") else ()
    files = _files(section, path.parent) if validators and section.has("files") else ()
    rpc_path, ready_path = _path(section, "rpc_path"), _path(section, "ready_path")
    version = _version(section.section("version")) if section.has("version") else None
    go = _go(section.section("go")) if section.has("go") else None
    block_seconds = section.number("block_seconds", 1, MAX_BLOCK_SECONDS, default=0)
    votes = read_votes(section.section("votes"), without_secrets) if validators and section.has("votes") else None
    section.finish()
    return EngineDescription(
        path.parent,
        chain_id,
        program,
        arguments,
        validators,
        files,
        prepare,
        settle,
        version=version,
        go=go,
        block_seconds=block_seconds,
        votes=votes,
        node_key_seals=node_key_seals,
        keys=keys,
        lists=lists,
        rpc_path=rpc_path,
        ready_path=ready_path,
        treasury=bool(validators) and _is_paid(document),
        fewest=fewest,
    )


def node_file(path: Path, endpoints: Sequence[str]) -> str:
    """The network file for the nodes of a network that runs here: the same rules, its endpoints, and no engine to start."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    document.pop("engine", None)
    return tomli_w.dumps(document | {"endpoints": list(endpoints)})


def fill(arguments: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Arguments with their placeholders filled in. `values` has every name that `load_engine` allows there."""
    return [argument.format_map(values) for argument in arguments]


def fill_file(template: Path, values: Mapping[str, str]) -> str:
    """A template's text filled in. Raises ConfigurationInvalid if it cannot be read, or names what there is not."""
    try:
        return string.Template(template.read_text(encoding="utf-8")).substitute(values)
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigurationInvalid(f"{template} cannot be read") from cause
    except (KeyError, ValueError) as cause:
        raise ConfigurationInvalid(f"{template}: only {', '.join(sorted(values))} can stand after a $") from cause


def _keys(section: Section) -> frozenset[KeyKind]:
    names, known = section.texts("keys"), {kind.value: kind for kind in KeyKind}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise section.wrong("keys", f"must be of {', '.join(known)}, not {unknown[0]!r}")
    return frozenset(known[name] for name in names)


def _lists(section: Section, keys: frozenset[KeyKind]) -> dict[str, ValidatorList]:
    taken = PLAIN_NAMES | FILE_NAMES | EACH_NAMES
    lists = {}
    for name in section.names():
        if not name.isidentifier() or name in taken:
            raise section.wrong(name, "cannot be the name of a list")
        one = section.section(name)
        others = one.text("of", frozenset({"all", "others"})) == "others"
        lists[name] = ValidatorList(others, one.block("each"))
        one.finish()
        known = {"port", "peer_port", *(name for kind in keys for name in PUBLIC_NAMES[kind])} & EACH_NAMES
        try:
            string.Template(lists[name].each).substitute(dict.fromkeys(known, ""))
        except (KeyError, ValueError) as cause:
            raise one.wrong("each", f"can have only {', '.join(sorted(known))} after a $") from cause
    section.finish()
    return lists


def _path(section: Section, key: str) -> str:
    if not section.has(key):
        return ""
    path = section.text(key)
    if not path.startswith("/"):
        raise section.wrong(key, "must begin with a slash")
    return path


def _is_paid(document: Section) -> bool:
    return document.has("fees") and document.section("fees").text("rule") == FeeRule.MARKET.value


def _arguments(section: Section, key: str, names: frozenset[str]) -> tuple[str, ...]:
    words = section.words(key)
    check_placeholders(section, key, words, names)
    return words


def _files(section: Section, folder: Path) -> tuple[str, ...]:
    names = section.texts("files")
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise section.wrong("files", f"must name files beside the network file, not {name!r}")
    return names


def _version(section: Section) -> VersionCheck:
    check = VersionCheck(section.words("arguments"), section.text("says"))
    section.finish()
    return check


def _go(section: Section) -> GoPackage:
    package = section.text("package")
    if "@v" not in package:
        raise section.wrong("package", "must end with @ and an exact version")
    go = GoPackage(package, section.words("flags") if section.has("flags") else ())
    section.finish()
    return go
