"""The language models' sizes, the lengths of what they are asked and answer, and the least time.

Lengths are lognormal with the data sets' means and longest; how far they spread is an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_llm.vllm.settings import VllmSettings

if TYPE_CHECKING:
    from gpu_parts.ceilings import Ceilings

_LLAMA: Final = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "tie_word_embeddings": False,
    "attention_bias": False, "mlp_bias": False,
}  # fmt: skip
_TOY: Final = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 8,
}  # fmt: skip


@attrs.frozen
class Lengths:
    """How many tokens texts have.

    Attributes:
        mean: tokens.
        most: tokens of the longest.
        spread: deviation of the logarithm; 0 gives all the mean.
    """

    mean: float
    most: int
    spread: float

    def draw(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """So many lengths, int64 [count], whose mean is the mean."""
        drawn = np.exp(self.spread * random.standard_normal(count))
        scale = self.mean
        for _ in range(20):  # what is cut off at the longest lowers the mean
            found = np.clip(drawn * scale, 2, self.most)
            scale *= self.mean / found.mean()
        return np.rint(found).astype(np.int64)


@attrs.frozen
class Shape:
    """A model, what it is asked and how vLLM runs it.

    Attributes:
        model: its ``config.json``.
        prompts: their lengths.
        answers: their lengths.
        settings: of the backend: FP8 weights and KV cache, as many sequences as the KV cache of
            an H200 has room for.
    """

    model: Mapping[str, Any]
    prompts: Lengths
    answers: Lengths
    settings: VllmSettings

    def toy(self) -> Shape:
        """The same with few weights and short texts."""
        settings = attrs.evolve(self.settings, max_num_seqs=16, max_num_batched_tokens=256)
        prompts, answers = Lengths(24, 64, 0.5), Lengths(12, 32, self.answers.spread)
        return Shape({**self.model, **_TOY}, prompts, answers, settings)

    @property
    def room(self) -> int:
        """Requests on their way at the same time: what the backend has by itself."""
        return 2 * self.settings.max_num_seqs


SHAPES: Final[Mapping[str, Shape]] = {
    "llama3.1-8b": Shape(
        _LLAMA | {
            "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "vocab_size": 128_256, "torch_dtype": "bfloat16",
            "max_position_embeddings": 131_072, "rope_theta": 500_000.0,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            },
            "bos_token_id": 128_000, "eos_token_id": [128_001, 128_008, 128_009],
        },
        Lengths(778, 2540, 0.5),
        # The reference's answers have 8,167,644 characters in 13,368: 611 each, which is 128 tokens
        # of 4.8 characters. So nearly all of them reach the cap.
        Lengths(128, 128, 0),
        VllmSettings(
            quantization="fp8", kv_cache_dtype="fp8", max_num_seqs=1024,
            max_num_batched_tokens=8192,
        ),
    ),
    "llama2-70b": Shape(
        _LLAMA | {
            "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80,
            "num_attention_heads": 64, "vocab_size": 32_000, "torch_dtype": "float16",
            "max_position_embeddings": 4096, "rope_theta": 10_000.0,
            "bos_token_id": 1, "eos_token_id": 2,
        },
        Lengths(294, 1024, 0.75),
        Lengths(294, 1024, 0.75),
        VllmSettings(
            quantization="fp8", kv_cache_dtype="fp8", max_num_seqs=512,
            max_num_batched_tokens=2048,
        ),
    ),
}  # fmt: skip


def floor(shape: Shape, most: Ceilings) -> float:
    """Tokens a second that bytes and operations allow.

    Weights and the KV cache are FP8, whose products are counted at twice float16's rate; the output
    layer stays in 16 bits. Every step reads the weights once for all its sequences, and every
    token the keys and values of what came before it.
    """
    model = shape.model
    width, layers = model["hidden_size"], model["num_hidden_layers"]
    keys = width // model["num_attention_heads"] * model["num_key_value_heads"]
    weights = layers * width * (2 * width + 2 * keys + 3 * model["intermediate_size"])
    head = width * model["vocab_size"]
    given, made = shape.prompts.mean, shape.answers.mean
    seen = given * given / 2 + made * (given + made / 2)  # keys that all queries look at
    fp8 = 2 * weights * (given + made) + 4 * layers * width * seen
    step = (weights + 2 * head) / shape.settings.max_num_seqs
    moved = made * (step + 2 * layers * keys * (given + made / 2))
    return made / most.seconds(moved, fp8 / 2 + 2 * head * made)


def shape(name: str, *, toy: bool) -> Shape:
    """Of a model, or of its toy."""
    return SHAPES[name].toy() if toy else SHAPES[name]
