"""The state directory of a network with several validators on one machine: keys, genesis and peers, made at the first start.

    STATE/validators/1/…             its keys (`node.engine.keys`), each encrypted (Web3 Secret Storage, version 3)
    STATE/validators/1/…             the network's files, filled in; what the engine keeps; engine.log
    STATE/validators/founders.json   what the genesis says of the accounts and the time, whoever is a validator since
    STATE/validators/treasury.json   where transactions are paid for: the account that the genesis gives all money to, in the same form

Validators that make blocks before they have met can end in forks of equal weight that none of them may go on from. So the genesis can name a
time for the first block, by which all should be up.

Everything is made beside and renamed into place at once, so there are all validators with one genesis, or none. All keys are encrypted
with the operator's passphrase; processes get what they need through pipes, so that it is in no command line and on no disk.
"""

from __future__ import annotations

import json
import os
import shutil
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import rlp

from node.chain.account import account_of, new_account, read_account, read_address, write_account
from node.engine.children import end_of, run
from node.engine.description import EngineDescription, fill, fill_file
from node.engine.keys import (
    CERTIFICATE,
    KEY_FILES,
    SECRET_NAMES,
    KeyKind,
    bls_values,
    enode_key,
    make_certificate,
    new_bls_key,
    new_certificate_key,
    node_id,
    secret_text,
)
from node.errors import ChainProgramFailed, ConfigurationInvalid, FileUnusable

HOMES, MAKING = "validators", "validators.making"
TREASURY, LOG = "treasury.json", "engine.log"
FOUNDERS, FOUNDERS_VERSION = "founders.json", 1
# A sixteenth of the standard's cost: dozens of keys are opened at each start, and they rule a network of one machine.
SCRYPT_N = 2**14
SECONDS_TO_MEET = 4  # for each validator, on a loaded machine
ADDRESS = "127.0.0.1"
VANITY_BYTES = 32


@dataclass(frozen=True)
class Ports:
    """First ports of the JSON-RPC and of the peers; validator n has the one that lies n-1 above."""

    rpc: int
    peer: int


@dataclass(frozen=True)
class Validator:
    """One validator of an existing directory.

    Attributes:
        number: from 1.
        account: address of the key that signs blocks, EIP-55; empty if it has none.
        secrets: its keys but for the account's, 32 bytes each.
        has_keystore: whether the key that signs blocks is one that the engine opens with the passphrase.
    """

    number: int
    home: Path
    rpc_port: int
    peer_port: int
    account: str
    secrets: dict[KeyKind, bytes] = field(repr=False)
    has_keystore: bool = True

    @property
    def enode(self) -> str:
        """Where its peers find it, as Ethereum's nodes write it (devp2p, enode URL)."""
        return f"enode://{enode_key(self.secrets[KeyKind.PEER])}@{ADDRESS}:{self.peer_port}?discport=0"

    @cached_property
    def public(self) -> dict[str, str]:
        """What anyone may know of its keys, by the placeholders that name it."""
        values = {"account": self.account} if self.account else {}
        if KeyKind.PEER in self.secrets:
            values["enode"] = self.enode
        if KeyKind.CERTIFICATE in self.secrets:
            file = self.home / CERTIFICATE
            values |= {"certificate_file": str(file), "node_id": node_id(file.read_bytes())}
        if KeyKind.BLS in self.secrets:
            values["bls_public_key"], values["bls_proof"] = bls_values(self.secrets[KeyKind.BLS])
        return values


def founded(state: Path) -> int:
    """How many validators the directory was made for; 0 if it was not."""
    return len(numbers(state))


def numbers(state: Path) -> list[int]:
    """The numbers of the directory's validators, ascending; one that was removed leaves a gap."""
    return [int(home.name) for home in _homes(state / HOMES)]


def found(  # noqa: PLR0913 (everything that a network of one machine is made of)
    engine: EngineDescription,
    program: Path,
    state: Path,
    count: int,
    passphrase: str,
    *,
    random: Callable[[int], bytes],
    clock: Callable[[], float],
    made: Callable[[int], None] = lambda _: None,
) -> None:
    """Make the directory of `count` validators: keys, files, and what the engine prepares.

    Args:
        engine: what kind of network.
        program: the engine's program.
        state: an existing directory without validators.
        count: how many.
        passphrase: encrypts the keys.
        random: gives so many random bytes.
        clock: Unix time, s.
        made: told how many validators are ready.

    Raises:
        ChainProgramFailed: the engine does not take the genesis.
        FileUnusable: the directory cannot be written.
    """
    making = state / MAKING
    try:
        shutil.rmtree(making, ignore_errors=True)  # of a first start that was cut short
        for number in range(1, count + 1):
            write_keys(engine, making / str(number), passphrase, random)
        if engine.treasury:
            write_account(making / TREASURY, new_account(random), passphrase, scrypt_n=SCRYPT_N)
        # The ports of the first start are not known to last, and no genesis names them.
        validators = open_validators(engine, making, passphrase, Ports(1, 1))
        founders = Founders(
            tuple(sorted(validator.account.lower() for validator in validators if validator.account)),
            int(clock()) + SECONDS_TO_MEET * count,
        )
        write_founders(making, founders)
        write_files(engine, validators, founders)
        for validator in validators:
            prepare(engine, program, validator, validators)
            made(validator.number)
        making.rename(state / HOMES)
    except OSError as cause:
        raise FileUnusable(f"{state} cannot be written: {cause.strerror}", path=state) from cause


def write_keys(engine: EngineDescription, home: Path, passphrase: str, random: Callable[[int], bytes]) -> None:
    """Make a validator's directory and its keys. Raises OSError."""
    home.mkdir(parents=True, mode=0o700)
    for kind, file in KEY_FILES.items():
        if kind not in engine.keys:
            continue
        if kind is KeyKind.CERTIFICATE:
            secret = new_certificate_key(random)
            (home / CERTIFICATE).write_bytes(make_certificate(secret))
            key = account_of(secret)
        elif kind is KeyKind.BLS:
            key = account_of(new_bls_key(random))
        else:
            key = new_account(random)
        (home / file).parent.mkdir(exist_ok=True, mode=0o700)
        write_account(home / file, key, passphrase, scrypt_n=SCRYPT_N)


@dataclass(frozen=True)
class Founders:
    """What the genesis is made of. `accounts`: 0x and lower-case digits, ascending; `start_time`: before which no block should be made, Unix s."""

    accounts: tuple[str, ...]
    start_time: int


def write_founders(homes: Path, founders: Founders) -> None:
    """Write down what the genesis is made of. Raises OSError."""
    document = {"version": FOUNDERS_VERSION, "accounts": founders.accounts, "start_time": founders.start_time}
    (homes / FOUNDERS).write_text(json.dumps(document, indent=2) + "\n", encoding="ascii")


def read_founders(homes: Path) -> Founders:
    """What the genesis is made of. Raises ConfigurationInvalid."""
    path = homes / FOUNDERS
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        accounts = document["accounts"] if document["version"] == FOUNDERS_VERSION else None
        start_time = document["start_time"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ConfigurationInvalid(f"{path} cannot be read; without it the network's genesis is not known") from cause
    if (
        not isinstance(accounts, list)
        or not all(isinstance(account, str) for account in accounts)
        or not isinstance(start_time, int)
    ):
        raise ConfigurationInvalid(f"{path} is no list of version {FOUNDERS_VERSION} of the founders' accounts")
    return Founders(tuple(accounts), start_time)


def open_validators(engine: EngineDescription, homes: Path, passphrase: str, ports: Ports) -> list[Validator]:
    """Open every validator's keys. Raises KeyInvalid where the passphrase is another, KeyFileExposed."""
    return [open_validator(engine, home, passphrase, ports) for home in _homes(homes)]


def open_validator(engine: EngineDescription, home: Path, passphrase: str, ports: Ports) -> Validator:
    """Open the keys of the validator whose directory has its number as its name. Raises as `open_validators`."""
    number = int(home.name)
    opened = {kind: read_account(home / KEY_FILES[kind], passphrase) for kind in engine.keys}
    sealing = opened.get(KeyKind.PEER if engine.node_key_seals else KeyKind.ACCOUNT)
    return Validator(
        number,
        home,
        ports.rpc + number - 1,
        ports.peer + number - 1,
        "" if sealing is None else str(sealing.address),
        {kind: bytes(key.key) for kind, key in opened.items() if kind is not KeyKind.ACCOUNT},
        KeyKind.ACCOUNT in opened,
    )


def write_files(engine: EngineDescription, validators: Sequence[Validator], founders: Founders) -> None:
    """Fill in the network's files for each validator, anew at each start: ports may be others, the founders are not.

    `peers` is the list of the others' enode URLs, in brackets and quotes, as JSON and TOML have it; `validator_accounts` are the
    founders' hexadecimal digits, in ascending order with nothing between; `bft_extra_data` is the founders' genesis in the extra data of
    IBFT and QBFT; `treasury` are the hexadecimal digits of the treasury.
    """
    for validator in validators:
        others = [other for other in validators if other is not validator]
        values = {
            "chain_id": str(engine.chain_id),
            "peer_port": str(validator.peer_port),
            "peers": json.dumps([other.public["enode"] for other in others if "enode" in other.public]),
            "start_time": str(founders.start_time),
            "validator_accounts": "".join(account.removeprefix("0x") for account in founders.accounts),
            "bft_extra_data": bft_extra_data(founders.accounts),
            "treasury": read_address(validator.home.parent / TREASURY)[2:].lower() if engine.treasury else "",
            **_lists(engine, validator, validators),
        }
        for name in engine.files:
            text = fill_file(engine.folder / name, values)
            try:
                (validator.home / name).write_text(text, encoding="utf-8")
            except OSError as cause:
                raise FileUnusable(f"{validator.home / name} cannot be written: {cause.strerror}") from cause


def bft_extra_data(founders: Sequence[str]) -> str:
    """The extra data of a genesis of IBFT 2.0 and QBFT, hexadecimal: 32 bytes of vanity, the validators, no vote, round 0, no seals (RLP)."""
    validators = sorted(bytes.fromhex(account.removeprefix("0x")) for account in founders)
    return bytes(rlp.encode([bytes(VANITY_BYTES), validators, [], 0, []])).hex()


def public_values(engine: EngineDescription, validator: Validator, validators: Sequence[Validator]) -> dict[str, str]:
    """What a validator's arguments may name, secrets left out. `validators`: all of them."""
    return {
        "port": str(validator.rpc_port),
        "peer_port": str(validator.peer_port),
        "chain_id": str(engine.chain_id),
        "home": str(validator.home),
        "state": str(validator.home / "state.json"),
        **validator.public,
        **_lists(engine, validator, validators),
    }


@contextmanager
def secret_values(validator: Validator, passphrase: str) -> Iterator[tuple[dict[str, str], list[int]]]:
    """The files of secrets that a process is given, and the descriptors that it inherits for them.

    Each is the reading end of a pipe that holds the secret already, and is empty once it was read.
    """
    held = {"password_file": passphrase.encode()} if validator.has_keystore else {}
    for kind, secret in validator.secrets.items():
        (name,) = SECRET_NAMES[kind]
        held[name] = secret_text(kind, secret)
    descriptors: list[int] = []
    try:
        for content in held.values():
            reading, writing = os.pipe()
            descriptors.append(reading)
            os.write(writing, content)  # far less than a pipe holds, so this never waits
            os.close(writing)
        names = [f"/dev/fd/{descriptor}" for descriptor in descriptors]
        yield dict(zip(held, names, strict=True)), descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def one_line(passphrase: bytes) -> str:
    """The passphrase as an engine's keystore takes it. Raises ConfigurationInvalid if it has several lines."""
    text = passphrase.decode()
    if len(text.splitlines()) != 1:
        raise ConfigurationInvalid("the passphrase has several lines; engines read one line of a password file")
    return text


def _homes(homes: Path) -> list[Path]:
    return sorted((home for home in homes.glob("*") if home.name.isdecimal()), key=lambda home: int(home.name))


def _lists(engine: EngineDescription, validator: Validator, validators: Sequence[Validator]) -> dict[str, str]:
    return {
        name: ",".join(
            string.Template(listed.each).substitute(one.public, port=str(one.rpc_port), peer_port=str(one.peer_port))
            for one in validators
            if not (listed.others and one is validator)
        )
        for name, listed in engine.lists.items()
    }


def prepare(engine: EngineDescription, program: Path, validator: Validator, validators: Sequence[Validator]) -> None:
    """Let the engine make its store of the network's files. Raises ChainProgramFailed where it does not take them."""
    if not engine.prepare:
        return
    command = [str(program), *fill(engine.prepare, public_values(engine, validator, validators))]
    code = run(command, validator.home / LOG)
    if code != 0:
        raise ChainProgramFailed(
            f"{program.name} did not take the network's files, code {code}:\n{end_of(validator.home / LOG)}", code=code
        )
