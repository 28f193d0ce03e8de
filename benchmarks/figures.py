"""What the benchmark scripts share: figures, their table, and measuring side by side."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable


@attrs.frozen
class Figure:
    """One figure beside its target."""

    name: str
    ours: str
    bare: str
    value: float
    target: str
    reached: bool


def print_head(repeats: int) -> None:
    """The table's beginning."""
    print(f"{os.cpu_count()} processors, medians of {repeats} alternating runs each\n")
    print("| figure | harness | bare | ratio or value | target | reached |")
    print("|---|---|---|---|---|---|", flush=True)


def print_row(figure: Figure) -> None:
    """One line of the table."""
    print(
        f"| {figure.name} | {figure.ours} | {figure.bare} | {figure.value:.3g} "
        f"| {figure.target} | {'yes' if figure.reached else 'no'} |",
        flush=True,
    )


def json_of(command: list[str]) -> dict[str, Any]:
    """Run a command and read the JSON object it prints last."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def pairs(
    repeats: int, left: Callable[[], dict[str, Any]], right: Callable[[], dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both measured alternately; which goes first alternates too."""
    lefts: list[dict[str, Any]] = []
    rights: list[dict[str, Any]] = []
    for number in range(repeats):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            (rights if which else lefts).append(right() if which else left())
    return lefts, rights


def median(runs: list[dict[str, Any]], key: str) -> float:
    """The median of one value."""
    return statistics.median(float(run[key]) for run in runs)
