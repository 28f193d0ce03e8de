"""The rounds of MLPerf Inference as data: one TOML file a round, read once.

Importing this costs next to nothing; cattrs is imported when a round is first loaded.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.names import fold
from mlpinf_core.rules.model import Round, Seeds

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS: Final = ("v5.1", "v6.0", "v6.1")
"""Every known round, the oldest first."""

DEFAULT_ROUND: Final = "v5.1"
"""The round that is meant where the user names none."""


def round_name(text: str) -> str:
    """The proper name of the round that ``text`` means: ``V5.1``, ``v5_1`` and ``5.1`` are one.

    Raises:
        UnknownNameError: no such round; names the nearest.
    """
    wanted = fold(text).removeprefix("v")
    for name in ROUNDS:
        if fold(name).removeprefix("v") == wanted:
            return name
    from mlpinf_core.errors import UnknownNameError

    raise UnknownNameError("round", text if text[:1] in "vV" else f"v{text}", ROUNDS)


def load_round(name: str) -> Round:
    """The rules of one round; the same object every time.

    Raises:
        UnknownNameError: no such round; names the nearest.
    """
    return _load(round_name(name))


def round_of_seeds(seeds: Seeds) -> str | None:
    """The round whose seeds these are, or None: tells which round a LoadGen wheel was built for."""
    for name in ROUNDS:
        if load_round(name).seeds == seeds:
            return name
    return None


@functools.cache
def _load(name: str) -> Round:
    text = resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    found: Round = _converter().structure(tomllib.loads(text), Round)
    complete = {key: found.complete(rules) for key, rules in found.benchmarks.items()}
    return attrs.evolve(found, benchmarks=complete)


@functools.cache
def _converter() -> Any:
    """Strict, so that a typing error in a rules file is found by the first test that loads it."""
    import cattrs

    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind, accepted in ((bool, bool), (int, int), (str, str), (float, (int, float))):
        converter.register_structure_hook(kind, _exactly(kind, accepted))
    return converter


def _exactly(kind: type, accepted: type | tuple[type, ...]) -> Callable[[Any, Any], Any]:
    def check(value: Any, asked: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"expected {kind.__name__}, got {value!r}")
        # The words of the vocabulary are texts too, and come here by their base class.
        return asked(value)

    return check
