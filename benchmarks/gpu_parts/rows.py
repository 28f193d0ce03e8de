"""One figure of the GPU benchmark beside what is published and what was aimed at; their table."""

from __future__ import annotations

import attrs

HEAD = (
    "| part | figure | measured | published | ratio | target | reached | floor |\n"
    "|---|---|---|---|---|---|---|---|"
)


@attrs.frozen
class Row:
    """One figure.

    Attributes:
        part: of the script.
        name: of the figure, with its unit.
        measured: the figure.
        published: the best published one per H200; None where there is none.
        target: the least that was aimed at; None where nothing was.
        floor: what the bytes and operations alone would allow, in the figure's unit; None where
            that was not worked out.
        notes: how it was measured, and whatever tells where the time goes.
    """

    part: str
    name: str
    measured: float
    published: float | None = None
    target: float | None = None
    floor: float | None = None
    notes: dict[str, object] = attrs.field(factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the target was."""
        return None if self.target is None else self.measured >= self.target

    def line(self) -> str:
        """Its line of the table."""
        ratio = self.measured / self.published if self.published else None
        reached = {None: "", True: "yes", False: "no"}[self.reached]
        cells = [
            self.part, self.name, _short(self.measured), _short(self.published), _short(ratio),
            _short(self.target), reached, _short(self.floor),
        ]  # fmt: skip
        return "| " + " | ".join(cells) + " |"

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**attrs.asdict(self), "reached": self.reached}


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
