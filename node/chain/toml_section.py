"""Strict reading of one TOML table: every key has a kind, an unknown or missing key is refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

from node.errors import ConfigurationInvalid


def read_document(path: Path) -> Section:
    """Parse a file. Raises ConfigurationInvalid if it is absent, unreadable or not TOML."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise ConfigurationInvalid(f"there is no file {path}") from cause
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ConfigurationInvalid(f"{path} cannot be read: {cause}") from cause
    return Section(str(path), document)


class Section:
    """A table. What was taken is remembered, so that `finish` can refuse what is left over."""

    def __init__(self, name: str, values: object) -> None:
        if not isinstance(values, dict):
            raise ConfigurationInvalid(f"{name} must be a table", setting=name)
        self._name = name
        self._values: dict[str, object] = dict(values)

    def text(self, key: str, choices: frozenset[str] | None = None) -> str:
        """A non-empty printable string, one of `choices` if those are given."""
        value = self._take(key)
        if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
            raise self.wrong(key, "must be a non-empty text of printable characters")
        if choices is not None and value not in choices:
            raise self.wrong(key, f"must be one of {', '.join(sorted(choices))}, not {value!r}")
        return value

    def block(self, key: str) -> str:
        """A non-empty string of any lines."""
        value = self._take(key)
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise self.wrong(key, "must be a non-empty text")
        return value

    def number(self, key: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A whole number from `lowest` to `highest`; `default` if the key is absent and a default is given."""
        if default is not None and key not in self._values:
            return default
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise self.wrong(key, f"must be a whole number from {lowest} to {highest}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of distinct, non-empty strings; at least one."""
        value = self._take(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, "must be a list of at least one text")
        if len(set(value)) != len(value):
            raise self.wrong(key, "names the same text twice")
        return tuple(value)

    def words(self, key: str) -> tuple[str, ...]:
        """A list of strings as a command line has them: there may be none, and the same one twice."""
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            raise self.wrong(key, "must be a list of texts")
        return tuple(value)

    def texts_and_truths(self, key: str) -> tuple[str | bool, ...]:
        """A list of strings, true and false, as a call's parameters have them; there may be none."""
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str | bool) for item in value):
            raise self.wrong(key, "must be a list of texts, true and false")
        return tuple(value)

    def hexadecimal(self, key: str, size: int) -> bytes:
        """0x and `size` bytes in hexadecimal."""
        value = self.text(key)
        try:
            decoded = bytes.fromhex(value.removeprefix("0x"))
        except ValueError as cause:
            raise self.wrong(key, "must be hexadecimal") from cause
        if not value.startswith("0x") or len(decoded) != size:
            raise self.wrong(key, f"must be 0x and {2 * size} hexadecimal digits")
        return decoded

    def section(self, key: str) -> Section:
        """A table within this one."""
        return Section(f"{self._name} [{key}]", self._take(key))

    def names(self) -> tuple[str, ...]:
        """The keys that were not taken yet, in the file's order."""
        return tuple(self._values)

    def has(self, key: str) -> bool:
        """Whether the key is there and was not taken yet."""
        return key in self._values

    def is_table(self, key: str) -> bool:
        """Whether the key is there as a table, where it may be something else."""
        return isinstance(self._values.get(key), dict)

    def ignore(self, key: str) -> None:
        """Leave a key to other readers of the same file."""
        self._values.pop(key, None)

    def finish(self) -> None:
        """Refuse what nobody asked for: a misspelt setting must not go unnoticed."""
        if self._values:
            raise self.wrong(next(iter(self._values)), "is not a known setting")

    def wrong(self, key: str, complaint: str) -> ConfigurationInvalid:
        """The error for one key."""
        return ConfigurationInvalid(f"{self._name}: {key} {complaint}", setting=key)

    def _take(self, key: str) -> object:
        if key not in self._values:
            raise self.wrong(key, "is missing")
        return self._values.pop(key)
