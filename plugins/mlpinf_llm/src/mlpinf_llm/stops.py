"""The token ids that end an answer, by benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.vocabulary import Variant

if TYPE_CHECKING:
    from collections.abc import Mapping

TINY: Final = (2,)
"""``<|im_end|>`` of the tiny variants' model."""

FULL: Final[Mapping[str, tuple[int, ...]]] = {
    "llama2-70b": (2,),
    "llama3.1-8b": (128009,),
    "llama3.1-8b-edge": (128009,),
    "llama3.1-405b": (128009,),
    "deepseek-r1": (1,),
}
"""The EOS that the reference implementations declare for each model."""


def stop_ids_of(benchmark: str, variant: Variant) -> tuple[int, ...]:
    """Ids that end an answer and are not part of it."""
    return TINY if variant is Variant.TINY else FULL[benchmark]
