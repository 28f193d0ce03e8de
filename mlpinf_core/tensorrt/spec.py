"""What an engine is built with: profile, target, precision, flags. All of it decides the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from mlpinf_core.errors import ConfigurationError

Precision = Literal["float32", "float16", "bfloat16", "fp8", "int8"]
"""What the network computes in; it is typed strongly, so the network itself says so."""


@attrs.frozen
class Range:
    """The shapes that an input may have.

    Attributes:
        least: the smallest.
        usual: what the engine is tuned for.
        most: the largest.
    """

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]

    def __attrs_post_init__(self) -> None:
        """Refuse what is in the wrong order.

        Raises:
            ConfigurationError: the shapes do not rise, or have different ranks.
        """
        ranks = {len(self.least), len(self.usual), len(self.most)}
        rises = all(a <= b <= c for a, b, c in zip(self.least, self.usual, self.most, strict=False))
        if len(ranks) > 1 or not rises:
            raise ConfigurationError(
                f"a profile's shapes do not rise: {self.least}, {self.usual}, {self.most}",
                remedy="give the smallest shape, the usual one and the largest, of one rank",
            )

    @classmethod
    def fixed(cls, shape: tuple[int, ...]) -> Range:
        """One shape only."""
        return cls(shape, shape, shape)

    @classmethod
    def batches(cls, most: int, rest: tuple[int, ...], usual: int | None = None) -> Range:
        """A batch from 1 to ``most``, before dimensions that do not change."""
        return cls((1, *rest), (usual or most, *rest), (most, *rest))

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape lies within."""
        return len(shape) == len(self.least) and all(
            low <= size <= high
            for low, size, high in zip(self.least, shape, self.most, strict=True)
        )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


@attrs.frozen
class EngineSpec:
    """An engine to build.

    Attributes:
        name: of the engine, ``unet``.
        profile: the shapes of each input.
        target: compute capability it is built for, ``8.9``; None for the GPU that is there.
        precision: what its network computes in.
        level: optimisation level, 0 to 5; None leaves it to TensorRT.
        workspace: most bytes that a layer may use for a moment; None leaves it to TensorRT.
        flags: names of builder flags to set, ``SPARSE_WEIGHTS``.
    """

    name: str
    profile: Mapping[str, Range]
    target: str | None = None
    precision: Precision = "float32"
    level: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(5))
        ),
    )
    workspace: int | None = None
    flags: tuple[str, ...] = attrs.field(default=(), converter=_sorted)

    def inputs(self) -> Mapping[str, Any]:
        """Plain values that decide what comes out, for the artifact's key."""
        plain = attrs.asdict(self, recurse=False)
        plain["profile"] = {
            name: [list(shape) for shape in attrs.astuple(shapes)]
            for name, shapes in sorted(self.profile.items())
        }
        plain["flags"] = list(self.flags)
        return MappingProxyType(plain)
