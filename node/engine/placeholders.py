"""What stands between braces in the arguments of a network file: known names only, so that nothing is filled in that is not there."""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence

from node.chain.toml_section import Section


def check_placeholders(section: Section, key: str, words: Sequence[str], names: Collection[str]) -> None:
    """Raise ConfigurationInvalid for the key if a word has something else between braces than one of `names`."""
    for word in words:
        try:
            fields = [parts[1:] for parts in string.Formatter().parse(word) if parts[1] is not None]
        except ValueError as cause:
            raise section.wrong(key, f"has an ill-formed placeholder in {word!r}") from cause
        if any(spec or conversion for _, spec, conversion in fields):
            raise section.wrong(key, f"has an ill-formed placeholder in {word!r}")
        unknown = [name for name, _, _ in fields if name not in names]
        if unknown:
            raise section.wrong(
                key, f"has the unknown placeholder {{{unknown[0]}}}; known are {', '.join(sorted(names))}"
            )
