"""The configuration file `kiteline.toml`: read, validated in one place, written by `kiteline init`.

Every setting has a unit in its name where it has one. Unknown settings are refused, so that a misspelt one cannot go
unnoticed. Paths are relative to the file's own directory.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import tomli_w

from audit.keeping import MIN_RETENTION_DAYS
from crypto.credit_code import check_credit_code
from crypto.errors import CreditCodeInvalid
from node.errors import ConfigurationInvalid

FILE_NAME = "kiteline.toml"
VERSION = 1
MAX_PORT = 65_535
Value = TypeVar("Value")


@dataclass(frozen=True)
class Settings:
    """A validated configuration.

    Attributes:
        member_id: unified social credit code of the department.
        name: its name, for people.
        listen: address and port to serve on; port 0 takes a free one.
        advertise: address and port that other members reach this node under, written to the chain.
        keys_directory: where the key files lie.
        data_directory: where log, datasets and transfers lie.
        network_file: description of the chain (network_configs).
        contracts_file: addresses of the consortium's contracts.
        client_certificates: PEM files of the department's own programs.
        metrics_listen: address and port of the Prometheus page, or None.
        engine: cryptographic engine to insist on, or None for the best that passes its self-tests.
        anchor_interval_seconds: how often the audit log's head goes on the chain, if it grew.
        max_outage_seconds: how long deliveries go on under known grants while the chain is down.
        finish_orders_seconds: how much longer than that for orders that were accepted before.
        max_clock_skew_seconds: how far an order's time may be from this node's.
        delivery_segments: segments in one delivery.
        max_outstanding_answers: query answers of a grant that may wait for their receipt.
        log_map_gigabytes: address space reserved for the audit log's epoch; disk is used as it fills.
        dataset_map_gigabytes: likewise for each dataset.
        max_publish_gigabytes: sealed bytes of one publication.
        grace_seconds: how long calls may finish when the node stops.
        head_file: where the newest signed head of the audit log is kept; not in `data_directory`, nor in its backup.
        witnesses: members that are asked to cosign the log's heads.
        anchor_networks: directories with the network.toml and contracts.toml of further networks that get the log's heads.
        cosignatures_needed: how many of them must have done so before a head is anchored.
        retention_days: how long log entries are kept here at least.
    """

    member_id: str
    name: str
    listen: str
    advertise: str
    keys_directory: Path
    data_directory: Path
    network_file: Path
    contracts_file: Path
    client_certificates: tuple[Path, ...]
    security_certificates: tuple[Path, ...]
    head_file: Path
    metrics_listen: str | None = None
    engine: str | None = None
    anchor_interval_seconds: int = 10
    max_outage_seconds: int = 86_400
    finish_orders_seconds: int = 0
    max_clock_skew_seconds: int = 300
    delivery_segments: int = 16
    max_outstanding_answers: int = 1_024
    log_map_gigabytes: int = 64
    dataset_map_gigabytes: int = 64
    max_publish_gigabytes: int = 4
    grace_seconds: int = 5
    witnesses: tuple[str, ...] = ()
    cosignatures_needed: int = 0
    anchor_networks: tuple[Path, ...] = ()
    retention_days: int = MIN_RETENTION_DAYS
    settle_seconds: int = 10
    retire_seconds: int = 300
    key_agent: Path | None = None

    @property
    def log_directory(self) -> Path:
        """Of the audit log's store."""
        return self.data_directory / "log"

    @property
    def index_directory(self) -> Path:
        """Of the audit log's secondary index."""
        return self.data_directory / "index"

    @property
    def log_map_bytes(self) -> int:
        """Address space of an epoch of the audit log."""
        return self.log_map_gigabytes << 30


def load(path: Path) -> Settings:
    """Read a configuration file. Raises ConfigurationInvalid naming the setting."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as cause:
        raise ConfigurationInvalid(f"there is no configuration at {path}; make one with `kiteline init`") from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigurationInvalid(f"{path} cannot be read: {cause}") from cause
    return parse(text, path)


def parse(text: str, path: Path) -> Settings:
    """The settings that a text states, as the file at `path` would. Raises ConfigurationInvalid naming the setting."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ConfigurationInvalid(f"{path} cannot be read: {cause}") from cause
    return _validated(document, path)


def dump(settings: Settings, directory: Path) -> str:
    """The text of a configuration file that `load` reads back to the same settings."""

    def relative(path: Path) -> str:
        return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)

    document: dict[str, dict[str, object] | int] = {
        "version": VERSION,
        "node": {
            "member_id": settings.member_id,
            "name": settings.name,
            "listen": settings.listen,
            "advertise": settings.advertise,
            "data_directory": relative(settings.data_directory),
            "keys_directory": relative(settings.keys_directory),
            "client_certificates": [relative(path) for path in settings.client_certificates],
            "security_certificates": [relative(path) for path in settings.security_certificates],
            "grace_seconds": settings.grace_seconds,
            **({"engine": settings.engine} if settings.engine else {}),
        },
        "chain": {
            "network_file": relative(settings.network_file),
            "contracts_file": relative(settings.contracts_file),
            "anchor_interval_seconds": settings.anchor_interval_seconds,
            "max_outage_seconds": settings.max_outage_seconds,
            "finish_orders_seconds": settings.finish_orders_seconds,
        },
        "exchange": {
            "max_clock_skew_seconds": settings.max_clock_skew_seconds,
            "delivery_segments": settings.delivery_segments,
            "max_outstanding_answers": settings.max_outstanding_answers,
        },
        "audit": {
            "head_file": relative(settings.head_file),
            "witnesses": list(settings.witnesses),
            "cosignatures_needed": settings.cosignatures_needed,
            "anchor_networks": [relative(path) for path in settings.anchor_networks],
            "retention_days": settings.retention_days,
        },
        "storage": {
            "log_map_gigabytes": settings.log_map_gigabytes,
            "dataset_map_gigabytes": settings.dataset_map_gigabytes,
            "max_publish_gigabytes": settings.max_publish_gigabytes,
        },
        "keys": {
            "settle_seconds": settings.settle_seconds,
            "retire_seconds": settings.retire_seconds,
            **({"agent": relative(settings.key_agent)} if settings.key_agent else {}),
        },
        **({"metrics": {"listen": settings.metrics_listen}} if settings.metrics_listen else {}),
    }
    return tomli_w.dumps(document)


class _Section:
    """One table of the file; remembers what was asked for, so that what is left over can be refused."""

    def __init__(self, name: str, values: object, base: Path) -> None:
        if not isinstance(values, dict):
            raise ConfigurationInvalid(f"[{name}] must be a table", setting=name)
        self._name = name
        self._values: dict[str, object] = dict(values)
        self._base = base

    def text(self, key: str, check: Callable[[str], None] | None = None) -> str:
        value = self._take(key, str)
        if not value or value != value.strip() or not value.isprintable():
            raise self._wrong(key, "must be a non-empty text of printable characters")
        if check is not None:
            check(value)
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._values else None

    def path(self, key: str) -> Path:
        return self._base / self.text(key)

    def optional_path(self, key: str) -> Path | None:
        return self.path(key) if key in self._values else None

    def paths(self, key: str) -> tuple[Path, ...]:
        values = self._take(key, list)
        if not all(isinstance(value, str) and value for value in values):
            raise self._wrong(key, "must be a list of file names")
        return tuple(self._base / value for value in values)

    def texts(self, key: str, check: Callable[[str], None]) -> tuple[str, ...]:
        values = self._take(key, list)
        if not all(isinstance(value, str) for value in values) or len(set(values)) < len(values):
            raise self._wrong(key, "must be a list of texts, each once")
        for value in values:
            check(value)
        return tuple(values)

    def integer(self, key: str, least: int, most: int) -> int:
        value = self._take(key, int)
        if isinstance(value, bool) or not least <= value <= most:
            raise self._wrong(key, f"must be from {least} to {most}")
        return value

    def address(self, key: str) -> str:
        value = self.text(key)
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or str(int(port)) != port or int(port) > MAX_PORT:
            raise self._wrong(key, "must be host:port")
        return value

    def optional_address(self, key: str) -> str | None:
        return self.address(key) if key in self._values else None

    def finish(self) -> None:
        if self._values:
            raise self._wrong(min(self._values), "is not a setting of this version")

    def _take(self, key: str, kind: type[Value]) -> Value:
        if key not in self._values:
            raise self._wrong(key, "is missing")
        value = self._values.pop(key)
        if not isinstance(value, kind):
            raise self._wrong(key, f"must be of type {kind.__name__}")
        return value

    def _wrong(self, key: str, what: str) -> ConfigurationInvalid:
        setting = f"{self._name}.{key}"
        return ConfigurationInvalid(f"{setting} {what}", setting=setting)


def _validated(document: dict[str, object], path: Path) -> Settings:
    base = path.resolve().parent
    if document.pop("version", None) != VERSION:
        raise ConfigurationInvalid(f"{path}: version must be {VERSION}", setting="version")
    node = _Section("node", document.pop("node", {}), base)
    chain = _Section("chain", document.pop("chain", {}), base)
    exchange = _Section("exchange", document.pop("exchange", {}), base)
    audit = _Section("audit", document.pop("audit", {}), base)
    storage = _Section("storage", document.pop("storage", {}), base)
    keys = _Section("keys", document.pop("keys", {}), base)
    metrics = _Section("metrics", document.pop("metrics", {}), base)
    if document:
        raise ConfigurationInvalid(f"{min(document)} is not a section of this version", setting=min(document))
    settings = Settings(
        member_id=node.text("member_id", partial(_check_member, "node.member_id")),
        name=node.text("name"),
        listen=node.address("listen"),
        advertise=node.address("advertise"),
        data_directory=node.path("data_directory"),
        keys_directory=node.path("keys_directory"),
        client_certificates=node.paths("client_certificates"),
        security_certificates=node.paths("security_certificates"),
        grace_seconds=node.integer("grace_seconds", 0, 600),
        engine=node.optional_text("engine"),
        network_file=chain.path("network_file"),
        contracts_file=chain.path("contracts_file"),
        anchor_interval_seconds=chain.integer("anchor_interval_seconds", 1, 86_400),
        max_outage_seconds=chain.integer("max_outage_seconds", 0, 31_536_000),
        finish_orders_seconds=chain.integer("finish_orders_seconds", 0, 31_536_000),
        max_clock_skew_seconds=exchange.integer("max_clock_skew_seconds", 1, 86_400),
        delivery_segments=exchange.integer("delivery_segments", 1, 64),
        max_outstanding_answers=exchange.integer("max_outstanding_answers", 1, 65_536),
        log_map_gigabytes=storage.integer("log_map_gigabytes", 1, 65_536),
        dataset_map_gigabytes=storage.integer("dataset_map_gigabytes", 1, 65_536),
        max_publish_gigabytes=storage.integer("max_publish_gigabytes", 1, 1_024),
        head_file=audit.path("head_file"),
        witnesses=audit.texts("witnesses", partial(_check_member, "audit.witnesses")),
        cosignatures_needed=audit.integer("cosignatures_needed", 0, 99),
        anchor_networks=audit.paths("anchor_networks"),
        retention_days=audit.integer("retention_days", MIN_RETENTION_DAYS, 36_500),
        settle_seconds=keys.integer("settle_seconds", 0, 3_600),
        retire_seconds=keys.integer("retire_seconds", 0, 86_400),
        key_agent=keys.optional_path("agent"),
        metrics_listen=metrics.optional_address("listen"),
    )
    if settings.cosignatures_needed > len(settings.witnesses):
        raise ConfigurationInvalid(
            f"audit.cosignatures_needed is {settings.cosignatures_needed}, and there are {len(settings.witnesses)} witnesses",
            setting="audit.cosignatures_needed",
        )
    for section in (node, chain, exchange, audit, storage, keys, metrics):
        section.finish()
    return settings


def _check_member(setting: str, value: str) -> None:
    try:
        check_credit_code(value)
    except CreditCodeInvalid as cause:
        raise ConfigurationInvalid(f"{setting}: {cause}", setting=setting) from cause
