"""Keeps secrets out of what is written of a server: its command line and its log."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HIDDEN: Final = "***"
_SECRET: Final = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_OPTION: Final = re.compile(r"--?[\w-]*(key|secret|password|credential|hf[-_]token)[\w-]*")
_LEAST: Final = 6
"""A shorter value is no secret, and hiding it would hide half the log."""


def refuse_secrets(arguments: Sequence[str]) -> None:
    """Refuse a secret that is written out among a server's arguments.

    Every user of the machine can read a command line, and a run records its own.

    Raises:
        ConfigurationError: there is one; says how it is given instead.
    """
    for option, value in _options(arguments):
        if not value.startswith("${"):
            raise ConfigurationError(
                f"{option} is given a secret on the command line, where others can read it",
                where="--server-argument",
                remedy=f"put it into a variable and give its name: '{option}=${{MY_KEY}}'",
            )


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The options whose names say that their values are secret, and the values."""
    for option, value in itertools.pairwise(arguments):
        if _OPTION.fullmatch(option):
            yield option, value
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals and _OPTION.fullmatch(option):
            yield option, value


class Redactor:
    """Replaces the values of variables and options whose names say that they are secret."""

    def __init__(self, environment: Mapping[str, str], command: Sequence[str]) -> None:
        """Know the secrets of one server."""
        values = {value for name, value in environment.items() if _SECRET.search(name)}
        values |= {value for _, value in _options(command)}
        long = sorted((v for v in values if len(v) >= _LEAST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, long))) if long else None

    def text(self, text: str) -> str:
        """The same without secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text
