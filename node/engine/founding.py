"""The state directory of a network with several validators on one machine: keys, genesis and peers, made at the first start.

    STATE/validators/1/keystore/account.json    the key that signs blocks (Web3 Secret Storage, version 3)
    STATE/validators/1/node-key.json            the key of its connections to peers, in the same form
    STATE/validators/1/…                        the network's files, filled in; what the engine keeps; engine.log

Validators that make blocks before they have met can end in forks of equal weight that none of them may go on from. So the genesis can name a
time for the first block, by which all should be up.

Everything is made beside and renamed into place at once, so there are all validators with one genesis, or none. Both keys are encrypted
with the operator's passphrase; processes get what they need through pipes, so that it is in no command line and on no disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from node.chain.account import new_account, read_account, write_account
from node.engine.children import end_of, run
from node.engine.description import EngineDescription, fill, fill_file
from node.errors import ChainProgramFailed, ConfigurationInvalid, FileUnusable

HOMES, MAKING = "validators", "validators.making"
ACCOUNT, NODE_KEY, LOG = Path("keystore") / "account.json", "node-key.json", "engine.log"
# A sixteenth of the standard's cost: sixteen keys are opened at each start, and they rule a network of one machine.
SCRYPT_N = 2**14
SECONDS_TO_MEET = 4  # for each validator, on a loaded machine
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """First ports of the JSON-RPC and of the peers; validator n has the one that lies n-1 above."""

    rpc: int
    peer: int


@dataclass(frozen=True)
class Validator:
    """One validator of an existing directory. `number`: from 1; `account`: its address, EIP-55."""

    number: int
    home: Path
    rpc_port: int
    peer_port: int
    account: str
    node_key: bytes = field(repr=False)

    @property
    def enode(self) -> str:
        """Where its peers find it, as Ethereum's nodes write it (devp2p, enode URL)."""
        key = ec.derive_private_key(int.from_bytes(self.node_key, "big"), ec.SECP256K1()).public_key()
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        return f"enode://{point.hex()}@{ADDRESS}:{self.peer_port}?discport=0"


def founded(state: Path) -> int:
    """How many validators the directory was made for; 0 if it was not."""
    return len(_homes(state / HOMES))


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
            home = making / str(number)
            (home / ACCOUNT).parent.mkdir(parents=True, mode=0o700)
            write_account(home / ACCOUNT, new_account(random), passphrase, scrypt_n=SCRYPT_N)
            write_account(home / NODE_KEY, new_account(random), passphrase, scrypt_n=SCRYPT_N)
        # The ports of the first start are not known to last, and no genesis names them.
        validators = open_validators(making, passphrase, Ports(1, 1))
        start_time = int(clock()) + SECONDS_TO_MEET * count
        for validator in validators:
            values = _file_values(engine, validator, validators) | {"start_time": str(start_time)}
            _write_files(engine, engine.founding_files, validator, values)
            _prepare(engine, program, validator)
            made(validator.number)
        making.rename(state / HOMES)
    except OSError as cause:
        raise FileUnusable(f"{state} cannot be written: {cause.strerror}", path=state) from cause


def open_validators(homes: Path, passphrase: str, ports: Ports) -> list[Validator]:
    """Open every validator's keys. Raises KeyInvalid where the passphrase is another, KeyFileExposed."""
    return [
        Validator(
            number,
            home,
            ports.rpc + number - 1,
            ports.peer + number - 1,
            read_account(home / ACCOUNT, passphrase).address,
            bytes(read_account(home / NODE_KEY, passphrase).key),
        )
        for number, home in enumerate(_homes(homes), start=1)
    ]


def write_files(engine: EngineDescription, validators: list[Validator]) -> None:
    """Fill in the network's files for each validator, anew at each start: ports may be others, accounts are not.

    `peers` is the list of the others' enode URLs, in brackets and quotes, as JSON and TOML have it; `validator_accounts` are the accounts'
    hexadecimal digits, in ascending order with nothing between.
    """
    for validator in validators:
        _write_files(engine, engine.files, validator, _file_values(engine, validator, validators))


def public_values(engine: EngineDescription, validator: Validator) -> dict[str, str]:
    """What a validator's arguments may name, secrets left out."""
    return {
        "port": str(validator.rpc_port),
        "peer_port": str(validator.peer_port),
        "chain_id": str(engine.chain_id),
        "home": str(validator.home),
        "state": str(validator.home / "state.json"),
        "account": validator.account,
    }


@contextmanager
def secret_values(validator: Validator, passphrase: str) -> Iterator[tuple[dict[str, str], list[int]]]:
    """The files of secrets that a process is given, and the descriptors that it inherits for them.

    Each is the reading end of a pipe that holds the secret already, and is empty once it was read.
    """
    descriptors: list[int] = []
    try:
        for secret in (passphrase.encode(), validator.node_key.hex().encode()):
            reading, writing = os.pipe()
            descriptors.append(reading)
            os.write(writing, secret)  # far less than a pipe holds, so this never waits
            os.close(writing)
        names = [f"/dev/fd/{descriptor}" for descriptor in descriptors]
        yield {"password_file": names[0], "node_key_file": names[1]}, descriptors
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


def _file_values(engine: EngineDescription, validator: Validator, validators: list[Validator]) -> dict[str, str]:
    return {
        "chain_id": str(engine.chain_id),
        "peer_port": str(validator.peer_port),
        "peers": json.dumps([other.enode for other in validators if other is not validator]),
        "validator_accounts": "".join(sorted(other.account[2:].lower() for other in validators)),
    }


def _write_files(
    engine: EngineDescription, names: tuple[str, ...], validator: Validator, values: dict[str, str]
) -> None:
    for name in names:
        text = fill_file(engine.folder / name, values)
        try:
            (validator.home / name).write_text(text, encoding="utf-8")
        except OSError as cause:
            raise FileUnusable(f"{validator.home / name} cannot be written: {cause.strerror}") from cause


def _prepare(engine: EngineDescription, program: Path, validator: Validator) -> None:
    if not engine.prepare:
        return
    command = [str(program), *fill(engine.prepare, public_values(engine, validator))]
    code = run(command, validator.home / LOG)
    if code != 0:
        raise ChainProgramFailed(
            f"{program.name} did not take the network's files, code {code}:\n{end_of(validator.home / LOG)}", code=code
        )
