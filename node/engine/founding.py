"""The state directory of a network with several validators on one machine: keys, genesis and peers, made at the first start.

    STATE/validators/1/keystore/account.json    the key that signs blocks (Web3 Secret Storage, version 3), unless the next one does
    STATE/validators/1/node-key.json            the key of its connections to peers, in the same form
    STATE/validators/1/…                        the network's files, filled in; what the engine keeps; engine.log
    STATE/validators/founders.json              what the genesis says of the accounts and the time, whoever is a validator since

Validators that make blocks before they have met can end in forks of equal weight that none of them may go on from. So the genesis can name a
time for the first block, by which all should be up.

Everything is made beside and renamed into place at once, so there are all validators with one genesis, or none. Both keys are encrypted
with the operator's passphrase; processes get what they need through pipes, so that it is in no command line and on no disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rlp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from node.chain.account import new_account, read_account, write_account
from node.engine.children import end_of, run
from node.engine.description import EngineDescription, fill, fill_file
from node.errors import ChainProgramFailed, ConfigurationInvalid, FileUnusable

HOMES, MAKING = "validators", "validators.making"
FOUNDERS, FOUNDERS_VERSION = "founders.json", 1
ACCOUNT, NODE_KEY, LOG = Path("keystore") / "account.json", "node-key.json", "engine.log"
# A sixteenth of the standard's cost: sixteen keys are opened at each start, and they rule a network of one machine.
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
    """One validator of an existing directory. `number`: from 1; `account`: the address of the key that it signs blocks with, EIP-55."""

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
        # The ports of the first start are not known to last, and no genesis names them.
        validators = open_validators(engine, making, passphrase, Ports(1, 1))
        founders = Founders(
            tuple(sorted(validator.account.lower() for validator in validators)), int(clock()) + SECONDS_TO_MEET * count
        )
        write_founders(making, founders)
        write_files(engine, validators, founders)
        for validator in validators:
            prepare(engine, program, validator)
            made(validator.number)
        making.rename(state / HOMES)
    except OSError as cause:
        raise FileUnusable(f"{state} cannot be written: {cause.strerror}", path=state) from cause


def write_keys(engine: EngineDescription, home: Path, passphrase: str, random: Callable[[int], bytes]) -> None:
    """Make a validator's directory and its keys. Raises OSError."""
    (home / ACCOUNT).parent.mkdir(parents=True, mode=0o700)
    if not engine.node_key_seals:
        write_account(home / ACCOUNT, new_account(random), passphrase, scrypt_n=SCRYPT_N)
    write_account(home / NODE_KEY, new_account(random), passphrase, scrypt_n=SCRYPT_N)


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
    node_key = read_account(home / NODE_KEY, passphrase)
    sealing = node_key if engine.node_key_seals else read_account(home / ACCOUNT, passphrase)
    return Validator(
        number, home, ports.rpc + number - 1, ports.peer + number - 1, sealing.address, bytes(node_key.key)
    )


def write_files(engine: EngineDescription, validators: Sequence[Validator], founders: Founders) -> None:
    """Fill in the network's files for each validator, anew at each start: ports may be others, the founders are not.

    `peers` is the list of the others' enode URLs, in brackets and quotes, as JSON and TOML have it; `validator_accounts` are the
    founders' hexadecimal digits, in ascending order with nothing between; `bft_extra_data` is the founders' genesis in the extra data of
    IBFT and QBFT.
    """
    for validator in validators:
        values = {
            "chain_id": str(engine.chain_id),
            "peer_port": str(validator.peer_port),
            "peers": json.dumps([other.enode for other in validators if other is not validator]),
            "start_time": str(founders.start_time),
            "validator_accounts": "".join(account.removeprefix("0x") for account in founders.accounts),
            "bft_extra_data": bft_extra_data(founders.accounts),
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


def prepare(engine: EngineDescription, program: Path, validator: Validator) -> None:
    """Let the engine make its store of the network's files. Raises ChainProgramFailed where it does not take them."""
    if not engine.prepare:
        return
    command = [str(program), *fill(engine.prepare, public_values(engine, validator))]
    code = run(command, validator.home / LOG)
    if code != 0:
        raise ChainProgramFailed(
            f"{program.name} did not take the network's files, code {code}:\n{end_of(validator.home / LOG)}", code=code
        )
