"""Recorded machines that several test modules look at."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpinf_core.systems.detection import detect
from mlpinf_core.systems.recording import RecordedHost

if TYPE_CHECKING:
    from mlpinf_core.systems.facts import Facts

MACHINES = Path(__file__).parent / "data" / "machines"
NAMES = sorted(path.stem for path in MACHINES.glob("*.toml"))
SHIPPED = Path(__file__).parent.parent / "systems"


def recorded(
    name: str, *, without: tuple[str, ...] = (), **changes: dict[str, Any]
) -> RecordedHost:
    """A recorded machine, less the tables ``without``, and with other answers to some questions."""
    path = MACHINES / f"{name}.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    kept = {kind: dict(known) for kind, known in data.items() if kind not in without}
    for kind, answers in changes.items():
        kept[kind] = {**kept.get(kind, {}), **answers}
    return RecordedHost(kept, str(path))


@functools.cache
def facts_of(name: str) -> Facts:
    """All facts of a recorded machine."""
    return detect(recorded(name))
