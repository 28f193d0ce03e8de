"""Scenes of two coloured shapes: what their captions say, and how they are drawn."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

SIDE: Final = 128
"""Width and height of a drawn scene, in pixels."""

BENCHMARK: Final = 64
"""Captions of the benchmark's tiny variant."""

SIZES: Final = {"large": 25.0, "small": 13.0}
"""Half the width of a shape, in pixels."""
COLOURS: Final = {
    "red": (214, 40, 40),
    "green": (46, 160, 67),
    "blue": (36, 84, 200),
    "yellow": (245, 200, 30),
    "purple": (140, 60, 180),
    "black": (25, 25, 25),
}
SHAPES: Final = ("circle", "square", "triangle", "cross")
RELATIONS: Final = {
    "above": (0.0, -1.0),
    "below": (0.0, 1.0),
    "left of": (-1.0, 0.0),
    "right of": (1.0, 0.0),
}
"""Where the first shape is, seen from the second: x to the right, y downwards."""
BACKGROUND: Final = (236, 236, 230)

_APART: Final = 30.0
"""Distance of each shape's centre from the middle of the image, in pixels."""
_ALONG, _ACROSS = 2.0, 6.0
"""How far a shape may lie from its place, along the line between the two and across it."""


@attrs.frozen
class Thing:
    """One shape of a scene."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"a {self.size} {self.colour} {self.shape}"


@attrs.frozen
class Scene:
    """Two shapes, and where the first is, seen from the second."""

    first: Thing
    relation: str
    second: Thing

    @property
    def caption(self) -> str:
        """What the scene shows, in words."""
        return f"{self.first} {self.relation} {self.second}"

    @property
    def attributes(self) -> tuple[int, ...]:
        """The seven choices that make the scene, as indices into the tables above."""
        return (
            *_indices(self.first),
            list(RELATIONS).index(self.relation),
            *_indices(self.second),
        )


def _indices(thing: Thing) -> tuple[int, int, int]:
    return (
        list(SIZES).index(thing.size),
        list(COLOURS).index(thing.colour),
        SHAPES.index(thing.shape),
    )


ATTRIBUTE_SIZES: Final = (
    *(len(SIZES), len(COLOURS), len(SHAPES)),
    len(RELATIONS),
    *(len(SIZES), len(COLOURS), len(SHAPES)),
)
"""Values each of a scene's seven attributes can take."""


def every_scene() -> list[Scene]:
    """All scenes there are, in a fixed order."""
    things = [Thing(*chosen) for chosen in itertools.product(list(SIZES), list(COLOURS), SHAPES)]
    return [
        Scene(first, relation, second)
        for first in things
        for relation in RELATIONS
        for second in things
    ]


def parted() -> tuple[list[Scene], list[Scene]]:
    """Scenes to train on, and the benchmark's 64, which training never sees."""
    scenes = every_scene()
    chosen = np.random.default_rng(64).permutation(len(scenes))[:BENCHMARK]
    held = set(chosen.tolist())
    others = [scene for index, scene in enumerate(scenes) if index not in held]
    return others, [scenes[index] for index in chosen]


def parse(caption: str) -> Scene:
    """The scene that a caption describes.

    Raises:
        ValueError: the caption describes none.
    """
    words = caption.split()
    relation = " ".join(words[4:-4])
    if len(words) < 9 or relation not in RELATIONS:
        raise ValueError(f"no scene is described by {caption!r}")
    scene = Scene(Thing(*words[1:4]), relation, Thing(*words[-3:]))
    if scene.caption != caption:
        raise ValueError(f"no scene is described by {caption!r}")
    scene.attributes  # noqa: B018  (raises ValueError for an unknown word)
    return scene


def altered(scene: Scene) -> list[Scene]:
    """Seven scenes that differ from this one in one attribute each: its next value."""
    names = [list(SIZES), list(COLOURS), list(SHAPES), list(RELATIONS)]
    tables = [*names, *names[:3]]
    found = []
    for place, table in enumerate(tables):
        words = [
            *attrs.astuple(scene.first),
            scene.relation,
            *attrs.astuple(scene.second),
        ]
        words[place] = table[(table.index(words[place]) + 1) % len(table)]
        found.append(Scene(Thing(*words[:3]), words[3], Thing(*words[4:])))
    return found


def draw(scenes: Sequence[Scene], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw scenes, each shape near its place.

    Args:
        scenes: what to draw.
        rng: where each shape lies exactly, and how large it is.

    Returns:
        [n, 128, 128, 3] uint8.
    """
    images = np.empty((len(scenes), SIDE, SIDE, 3), np.uint8)
    for image, scene in zip(images, scenes, strict=True):
        canvas = np.empty((SIDE, SIDE, 3), np.float32)
        canvas[:] = BACKGROUND
        direction = np.array(RELATIONS[scene.relation])
        across = direction[::-1]
        for thing, side in ((scene.first, 1.0), (scene.second, -1.0)):
            along = side * _APART + rng.uniform(-_ALONG, _ALONG)
            centre = SIDE / 2 + direction * along + across * rng.uniform(-_ACROSS, _ACROSS)
            _paint(canvas, thing, centre, SIZES[thing.size] * rng.uniform(0.97, 1.03))
        image[:] = np.rint(canvas)
    return images


_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32) + 0.5
"""Where pixels' centres are."""


def _paint(
    canvas: npt.NDArray[np.float32], thing: Thing, centre: npt.NDArray[np.float64], radius: float
) -> None:
    y, x = _ROWS, _COLUMNS
    outside = _distance(thing.shape, x - np.float32(centre[0]), y - np.float32(centre[1]), radius)
    cover = np.clip(0.5 - outside, 0, 1)[..., None]
    canvas *= 1 - cover
    canvas += cover * np.array(COLOURS[thing.colour], np.float32)


def _distance(
    shape: str, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], radius: float
) -> npt.NDArray[np.float32]:
    """About how far pixels lie outside a shape; negative inside."""
    if shape == "circle":
        return np.hypot(x, y) - np.float32(radius)
    if shape == "square":
        square: npt.NDArray[np.float32] = np.maximum(abs(x), abs(y)) - np.float32(0.86 * radius)
        return square
    if shape == "triangle":
        sides = abs(x) * np.float32(np.sqrt(0.8)) - (y + radius) * np.float32(np.sqrt(0.2))
        triangle: npt.NDArray[np.float32] = np.maximum(sides, y - np.float32(0.8 * radius))
        return triangle
    arm = np.float32(0.34 * radius)
    upright = np.maximum(abs(x) - arm, abs(y) - radius)
    level = np.maximum(abs(y) - arm, abs(x) - radius)
    cross: npt.NDArray[np.float32] = np.minimum(upright, level)
    return cross
