"""Language models with random weights, and prompts and answers of the data sets' lengths.

A model is a folder with nothing but its ``config.json``: vLLM makes the weights up itself
(``load_format="dummy"``) and quantises them to FP8 as it does. Prompts are random ids. Random
weights do not end a text, so each answer has a number of tokens of its own, which vLLM is made to
generate: the ids that end a text are masked up to there, at every step, which real runs do only for
an answer's first token.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_llm.dataset import Store
from mlpinf_llm.engine_backend import Asked
from mlpinf_llm.official import OFFICIAL
from mlpinf_llm.ragged import Ragged, Texts
from mlpinf_llm.samples import TokenSamples
from mlpinf_llm.vllm.backend import VllmService, engine_arguments, sampling_arguments

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_parts.llm_shapes import Shape


def write_config(shape: Shape, folder: Path) -> None:
    """Make a folder the checkpoint's."""
    (folder / "config.json").write_text(json.dumps(shape.model), encoding="utf-8")


@attrs.frozen(eq=False)
class RandomSamples(TokenSamples):
    """Random prompts.

    Attributes:
        tokens: int64 [prompts], of each one's answer.
    """

    tokens: npt.NDArray[np.int64]


def samples(shape: Shape, count: int) -> RandomSamples:
    """The same ones every time, without references."""
    random = np.random.default_rng(6)
    lengths = shape.prompts.draw(random, count)
    offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    ids = random.integers(3, shape.model["vocab_size"] - 256, int(offsets[-1]), dtype=np.int32)
    nothing = Texts(Ragged(np.empty(0, np.uint8), np.zeros(1, np.int64)))
    store = Store(Ragged(ids, offsets), nothing, nothing)
    return RandomSamples(store, shape.answers.draw(random, count))


def asked(name: str, shape: Shape, *, stream: bool) -> Asked:
    """What answers are asked for with: the rules' sampling, and the longest answer's length."""
    return Asked(OFFICIAL[name].generation, shape.answers.most, 2, stream)


def engine(shape: Shape, folder: Path) -> dict[str, Any]:
    """What AsyncEngineArgs is made with: the plugin's own arguments, and weights made up."""
    cap = shape.answers.most
    longest = shape.prompts.most + cap
    arguments = engine_arguments(shape.settings, folder, longest=longest, cap=cap)
    return arguments | {"load_format": "dummy"}


def sampling(ask: Asked, tokens: int) -> dict[str, Any]:
    """What SamplingParams is made with, but for the kind of output: just so many tokens."""
    forced = {"min_tokens": tokens, "max_tokens": tokens, "ignore_eos": True}
    return sampling_arguments(ask) | forced


class RandomService(VllmService):
    """The plugin's, but that each answer has as many tokens as it is to have."""

    def __init__(self, shape: Shape, folder: Path, ask: Asked, samples: RandomSamples) -> None:
        """Make a service; nothing is loaded yet."""
        super().__init__(engine(shape, folder), sampling_arguments(ask), ask, samples)
        self._wanted: list[int] = samples.tokens.tolist()

    async def open(self) -> None:
        """Load the model."""
        from vllm import SamplingParams

        await super().open()
        self._forced = {
            tokens: SamplingParams(**sampling(self._ask, tokens), output_kind=self._kind)
            for tokens in set(self._wanted)
        }

    def sampling(self, index: int) -> Any:
        """How the answer to a sample is chosen."""
        return self._forced[self._wanted[index]]
