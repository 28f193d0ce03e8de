"""The rules by their codes: what each asks, and what to do where it is broken."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class Rule:
    """One rule.

    Attributes:
        code: a word for machines; stable.
        asks: what it asks of a tree.
        remedy: what to do where it is broken.
    """

    code: str
    asks: str
    remedy: str


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its code."""
    file = resources.files(__package__).joinpath("catalogue.toml")
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return MappingProxyType({code: Rule(code, **said) for code, said in data.items()})
