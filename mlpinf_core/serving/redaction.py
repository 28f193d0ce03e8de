"""Keeps secrets out of what is written of a server: its command line and its log."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HIDDEN: Final = "***"
_SECRET: Final = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_OPTION: Final = re.compile(r"--?[\w-]*(key|secret|password|credential|hf[-_]token)[\w-]*")
_LEAST: Final = 6
"""A shorter value is no secret, and hiding it would hide half the log."""


class Redactor:
    """Replaces the values of variables and options whose names say that they are secret."""

    def __init__(self, environment: Mapping[str, str], command: Sequence[str]) -> None:
        """Know the secrets of one server."""
        values = {value for name, value in environment.items() if _SECRET.search(name)}
        for option, value in itertools.pairwise(command):
            if _OPTION.fullmatch(option):
                values.add(value)
        for argument in command:
            option, equals, value = argument.partition("=")
            if equals and _OPTION.fullmatch(option):
                values.add(value)
        long = sorted((v for v in values if len(v) >= _LEAST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, long))) if long else None

    def text(self, text: str) -> str:
        """The same without secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text
