"""Convert a GGUF file of the llama architecture to a CTranslate2 engine, without torch.

The engine is a directory: CTranslate2's `model.bin`, `config.json` and `vocabulary.json`, and the
`tokenizer.json` made from the same file, so that an engine can never meet the wrong tokenizer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_llm.gguf_file import GgufError, GgufFile

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

__all__ = ["QUANTIZATIONS", "GgufError", "LlamaShape", "convert"]

log = logging.getLogger(__name__)

#: What CTranslate2 can store weights as.
QUANTIZATIONS = (
    "int8", "int8_float32", "int8_float16", "int8_bfloat16",
    "int16", "float16", "bfloat16", "float32",
)  # fmt: skip

TOKENIZER_FILE = "tokenizer.json"


@attrs.frozen(slots=True)
class LlamaShape:
    """The sizes that a llama model's GGUF metadata declares."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    vocabulary: int
    rope_base: float
    norm_epsilon: float

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @classmethod
    def read(cls, file: GgufFile) -> LlamaShape:
        """Read the sizes from the metadata.

        Raises GgufError when the file holds another architecture, lacks a size, or uses a
        variation (scaled or partial rotary embedding) that would be converted wrongly.
        """
        architecture = file.metadata.get("general.architecture")
        if architecture != "llama":
            raise GgufError(
                f"{file.path} holds architecture {architecture!r}; only 'llama' can be converted"
            )

        def number(key: str, kind: type[Any]) -> Any:
            value = file.metadata.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise GgufError(f"{file.path}: metadata {key} is {value!r}, not a positive number")
            return kind(value)

        tokens = file.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, list) or not tokens:
            raise GgufError(f"{file.path} has no vocabulary (tokenizer.ggml.tokens)")
        heads = number("llama.attention.head_count", int)
        # Both keys are optional in the format.
        grouped = "llama.attention.head_count_kv" in file.metadata
        based = "llama.rope.freq_base" in file.metadata
        shape = cls(
            layers=number("llama.block_count", int),
            width=number("llama.embedding_length", int),
            hidden=number("llama.feed_forward_length", int),
            heads=heads,
            kv_heads=number("llama.attention.head_count_kv", int) if grouped else heads,
            vocabulary=len(tokens),
            rope_base=number("llama.rope.freq_base", float) if based else 10_000.0,
            norm_epsilon=number("llama.attention.layer_norm_rms_epsilon", float),
        )
        if shape.width % heads or heads % shape.kv_heads or shape.head_width % 2:
            raise GgufError(
                f"{file.path}: {heads} heads and {shape.kv_heads} key heads do not divide "
                f"width {shape.width}"
            )
        rotary = file.metadata.get("llama.rope.dimension_count", shape.head_width)
        scaling = file.metadata.get("llama.rope.scaling.type", "none")
        if rotary != shape.head_width or scaling != "none" or "rope_freqs.weight" in file.tensors:
            raise GgufError(
                f"{file.path} has a scaled or partial rotary embedding, which is not converted"
            )
        return shape


def convert(gguf: Path, out: Path, quantization: str = "int8") -> None:
    """Write the engine of the GGUF file `gguf` into the directory `out`.

    `out` is made if it is missing; files of the same names in it are replaced. `quantization` is
    one of QUANTIZATIONS. Raises GgufError for a file that is truncated, is not GGUF, holds another
    architecture, or lacks a tensor or has one of another shape or one that isn't used; ValueError
    for an unknown quantization; OSError when a file cannot be read or written. Peak memory is
    about the model in float32 and once more in `quantization`.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"quantization {quantization!r} is not one of {', '.join(QUANTIZATIONS)}")
    from mlpinf_llm import tokenizer

    file = GgufFile.open(gguf)
    shape = LlamaShape.read(file)
    tokens = tokenizer.build(file.metadata)
    spec = _spec(file, shape)
    log.info("converting %s: %d layers, width %d", gguf, shape.layers, shape.width)
    spec.register_vocabulary(file.metadata["tokenizer.ggml.tokens"])
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown")):
        token = tokenizer.special_token(file.metadata, key)
        if token is not None:
            setattr(spec.config, f"{role}_token", token)
    spec.config.layer_norm_epsilon = shape.norm_epsilon
    spec.validate()
    spec.optimize(quantization=quantization)
    out.mkdir(parents=True, exist_ok=True)
    spec.save(str(out))
    tokens.save(str(out / TOKENIZER_FILE))


def _spec(file: GgufFile, shape: LlamaShape) -> Any:
    """CTranslate2's description of the model, with float32 weights in it."""
    import numpy as np
    from ctranslate2.specs import common_spec, transformer_spec

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        shape.layers,
        shape.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=shape.rope_base,
        num_heads_kv=shape.kv_heads,
    )
    used: set[str] = set()

    def tensor(name: str, *expected: int) -> npt.NDArray[np.float32]:
        used.add(name)
        return file.float32(name, expected)

    width, hidden = shape.width, shape.hidden
    kv_width = shape.kv_heads * shape.head_width
    decoder = spec.decoder
    decoder.scale_embeddings = False
    embedding = tensor("token_embd.weight", shape.vocabulary, width)
    decoder.embeddings.weight = embedding
    tied = "output.weight" not in file.tensors
    # One array for both: CTranslate2 sees that they are the same and stores it once.
    decoder.projection.weight = (
        embedding if tied else tensor("output.weight", shape.vocabulary, width)
    )
    decoder.layer_norm.gamma = tensor("output_norm.weight", width)
    for index, layer in enumerate(decoder.layer):
        block = f"blk.{index}"
        attention = layer.self_attention
        attention.layer_norm.gamma = tensor(f"{block}.attn_norm.weight", width)
        query = tensor(f"{block}.attn_q.weight", width, width)
        key = tensor(f"{block}.attn_k.weight", kv_width, width)
        value = tensor(f"{block}.attn_v.weight", kv_width, width)
        attention.linear[0].weight = np.concatenate(
            [_halves(query, shape.heads), _halves(key, shape.kv_heads), value]
        )
        attention.linear[1].weight = tensor(f"{block}.attn_output.weight", width, width)
        layer.ffn.layer_norm.gamma = tensor(f"{block}.ffn_norm.weight", width)
        layer.ffn.linear_0.weight = tensor(f"{block}.ffn_gate.weight", hidden, width)
        layer.ffn.linear_0_noact.weight = tensor(f"{block}.ffn_up.weight", hidden, width)
        layer.ffn.linear_1.weight = tensor(f"{block}.ffn_down.weight", width, hidden)
    unused = sorted(set(file.tensors) - used)
    if unused:
        # A bias, an expert or an adapter left out would give a model that runs and is wrong.
        raise GgufError(
            f"{file.path} has {len(unused)} tensors that the llama layout does not have, "
            f"such as {unused[0]}"
        )
    return spec


def _halves(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Put the two rotary halves of each head's rows one after the other.

    GGUF interleaves them; CTranslate2 has them as the original checkpoints do.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)
