"""Make a Hugging Face checkpoint of a CTranslate2 Whisper folder, so that both backends run it.

The weights are the very same numbers: CTranslate2 keeps the three projections of an attention in
one matrix, Hugging Face keeps them apart, and nothing else differs but the names.
"""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_core.errors import IntegrityError
from mlpinf_whisper.ct2_file import Ct2File
from mlpinf_whisper.hf_checkpoint import (
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER,
    WEIGHTS,
    WhisperSizes,
    read_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

log = logging.getLogger(__name__)

_GELU: Final = 3
_MULTILINGUAL: Final = 51_865
"""Tokens of the smallest multilingual vocabulary; the English one has one fewer."""
_FLAGS: Final = {
    "decoder/activation": _GELU,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
"""What Hugging Face's model always does, as CTranslate2 writes it down."""
_UNUSED: Final = frozenset(
    [
        "decoder/alibi_use_positive_positions",
        "decoder/alignment_heads",
        "decoder/alignment_layer",
        "decoder/scale_alibi",
    ]
)
"""How ALiBi would be used if it were, and where word timestamps would come from."""
_ALIASES: Final = {"decoder/projection/weight": "decoder/embeddings/weight"}


def convert(source: Path, out: Path) -> None:
    """Write the checkpoint folder of a CTranslate2 folder.

    Args:
        source: holds ``model.bin``, ``config.json`` and ``tokenizer.json``.
        out: made if it is missing; files of the same names in it are replaced.

    Raises:
        PrerequisiteError: a file is missing.
        IntegrityError: one is damaged, or the model is quantised or not a Whisper that Hugging
            Face's classes compute.
    """
    from safetensors.numpy import save_file

    file = Ct2File.open(source / "model.bin")
    config = read_json(source / "config.json")
    tokens = read_json(source / TOKENIZER)
    sizes = _sizes(file)
    tensors = _Renaming(file).tensors(sizes)
    log.info("converting %s: %d tensors", source, len(tensors))
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(source / TOKENIZER, out / TOKENIZER)
    specials = {token["content"]: token["id"] for token in tokens.get("added_tokens", [])}
    _write(out / GENERATION_CONFIG, _generation(config, specials, sizes, source / TOKENIZER))
    _write(out / CONFIG, _model_config(sizes, specials))


def _sizes(file: Ct2File) -> WhisperSizes:
    """The sizes, from the shapes and the two numbers of heads."""
    variables = file.variables

    def layers(part: str) -> int:
        names = (name.split("/") for name in variables if name.startswith(f"{part}/layer_"))
        return len({name[1] for name in names} - {"layer_norm"})

    def shape(name: str, axis: int) -> int | None:
        variable = variables.get(name)
        return variable.shape[axis] if variable is not None and variable.ndim > axis else None

    def number(name: str) -> int | None:
        variable = variables.get(name)
        return int(variable) if variable is not None and variable.ndim == 0 else None

    found = {
        "vocab_size": shape("decoder/embeddings/weight", 0),
        "num_mel_bins": shape("encoder/conv1/weight", 1),
        "d_model": shape("decoder/embeddings/weight", 1),
        "encoder_layers": layers("encoder"),
        "encoder_attention_heads": number("encoder/num_heads"),
        "encoder_ffn_dim": shape("encoder/layer_0/ffn/linear_0/weight", 0),
        "decoder_layers": layers("decoder"),
        "decoder_attention_heads": number("decoder/num_heads"),
        "decoder_ffn_dim": shape("decoder/layer_0/ffn/linear_0/weight", 0),
        "max_source_positions": shape("encoder/position_encodings/encodings", 0),
        "max_target_positions": shape("decoder/position_encodings/encodings", 0),
    }
    return WhisperSizes.of(found, file.path)


class _Renaming:
    """Takes each variable once, and knows at the end what nobody took."""

    def __init__(self, file: Ct2File) -> None:
        self._file = file
        self._left = set(file.variables)

    def tensors(self, sizes: WhisperSizes) -> dict[str, npt.NDArray[Any]]:
        """All tensors by Hugging Face's names; their shapes are those that the sizes make."""
        self._check_kind()
        made: dict[str, npt.NDArray[Any]] = {}
        for part, count in (("encoder", sizes.encoder_layers), ("decoder", sizes.decoder_layers)):
            model = f"model.{part}"
            made |= self._norm(f"{part}/layer_norm", f"{model}.layer_norm")
            made[f"{model}.embed_positions.weight"] = self._take(
                f"{part}/position_encodings/encodings"
            )
            for layer in range(count):
                ours, theirs = f"{part}/layer_{layer}", f"{model}.layers.{layer}"
                made |= self._self_attention(f"{ours}/self_attention", f"{theirs}.self_attn")
                if part == "decoder":
                    made |= self._cross_attention(f"{ours}/attention", f"{theirs}.encoder_attn")
                made |= self._feed_forward(f"{ours}/ffn", theirs)
        made["model.decoder.embed_tokens.weight"] = self._take("decoder/embeddings/weight")
        for name in ("conv1", "conv2"):
            made |= self._linear(f"encoder/{name}", f"model.encoder.{name}")
        self._check_complete(made, sizes)
        return made

    def _check_kind(self) -> None:
        if self._file.specification != "WhisperSpec":
            raise self._unfit(f"it is a {self._file.specification}, not a WhisperSpec")
        if dict(self._file.aliases) != _ALIASES:
            raise self._unfit("its output projection is not its token embedding")
        for name, value in _FLAGS.items():
            found = self._take(name)
            if found.ndim or int(found) != value:
                raise self._unfit(f"{name} is {found.tolist()} instead of {value}")
        self._left -= {"encoder/num_heads", "decoder/num_heads"} | _UNUSED

    def _check_complete(self, made: Mapping[str, npt.NDArray[Any]], sizes: WhisperSizes) -> None:
        for name, shape in sizes.shapes().items():
            if made[name].shape != shape:
                raise self._unfit(f"{name} would be {made[name].shape} instead of {shape}")
            if made[name].dtype.kind != "f":
                raise self._unfit(f"{name} would be {made[name].dtype}: the model is quantised")
        if self._left:
            example = min(self._left)
            raise self._unfit(f"{len(self._left)} variables have no place, such as {example}")

    def _take(self, name: str) -> npt.NDArray[Any]:
        if name not in self._left:
            raise self._unfit(f"variable {name} is missing")
        self._left.remove(name)
        return self._file.variables[name]

    def _norm(self, ours: str, theirs: str) -> dict[str, npt.NDArray[Any]]:
        return {
            f"{theirs}.weight": self._take(f"{ours}/gamma"),
            f"{theirs}.bias": self._take(f"{ours}/beta"),
        }

    def _linear(self, ours: str, theirs: str) -> dict[str, npt.NDArray[Any]]:
        return {
            f"{theirs}.weight": self._take(f"{ours}/weight"),
            f"{theirs}.bias": self._take(f"{ours}/bias"),
        }

    def _self_attention(self, ours: str, theirs: str) -> dict[str, npt.NDArray[Any]]:
        return {
            **self._norm(f"{ours}/layer_norm", f"{theirs}_layer_norm"),
            **self._fused(f"{ours}/linear_0", theirs, ("q_proj", "k_proj", "v_proj")),
            **self._linear(f"{ours}/linear_1", f"{theirs}.out_proj"),
        }

    def _cross_attention(self, ours: str, theirs: str) -> dict[str, npt.NDArray[Any]]:
        return {
            **self._norm(f"{ours}/layer_norm", f"{theirs}_layer_norm"),
            **self._linear(f"{ours}/linear_0", f"{theirs}.q_proj"),
            **self._fused(f"{ours}/linear_1", theirs, ("k_proj", "v_proj")),
            **self._linear(f"{ours}/linear_2", f"{theirs}.out_proj"),
        }

    def _feed_forward(self, ours: str, theirs: str) -> dict[str, npt.NDArray[Any]]:
        return {
            **self._norm(f"{ours}/layer_norm", f"{theirs}.final_layer_norm"),
            **self._linear(f"{ours}/linear_0", f"{theirs}.fc1"),
            **self._linear(f"{ours}/linear_1", f"{theirs}.fc2"),
        }

    def _fused(self, ours: str, theirs: str, parts: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
        """Projections that share one matrix, taken apart; Whisper's keys have no bias."""
        weight, bias = self._take(f"{ours}/weight"), self._take(f"{ours}/bias")
        if len(weight) % len(parts) or len(weight) != len(bias):
            raise self._unfit(f"{ours} has {len(weight)} rows and {len(bias)} biases")
        made = {}
        rows = len(weight) // len(parts)
        for index, part in enumerate(parts):
            own = slice(index * rows, (index + 1) * rows)
            made[f"{theirs}.{part}.weight"] = np.ascontiguousarray(weight[own])
            if part != "k_proj":
                made[f"{theirs}.{part}.bias"] = np.ascontiguousarray(bias[own])
            elif np.any(bias[own]):
                raise self._unfit(f"{ours} gives the keys a bias")
        return made

    def _unfit(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"the CTranslate2 model cannot be converted: {how}",
            where=str(self._file.path),
            remedy="convert an unquantised Whisper model of OpenAI's",
        )


def _generation(
    config: Mapping[str, Any], specials: Mapping[str, int], sizes: WhisperSizes, tokens: Path
) -> dict[str, Any]:
    """``generation_config.json``: which tokens begin, end and are never chosen."""
    for name in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"):
        if name not in specials:
            raise IntegrityError(f"the tokenizer has no {name}", where=str(tokens))
    end = specials["<|endoftext|>"]
    made: dict[str, Any] = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": specials["<|startoftranscript|>"],
        "no_timestamps_token_id": specials["<|notimestamps|>"],
        "suppress_tokens": config.get("suppress_ids"),
        "begin_suppress_tokens": config.get("suppress_ids_begin"),
        "alignment_heads": config.get("alignment_heads"),
        "is_multilingual": sizes.vocab_size >= _MULTILINGUAL,
        "max_length": sizes.max_target_positions,
        "return_timestamps": False,
    }
    if made["is_multilingual"]:
        languages = set(config.get("lang_ids") or ())
        made["lang_to_id"] = {name: i for name, i in specials.items() if i in languages}
        made["task_to_id"] = {name: specials[f"<|{name}|>"] for name in ("transcribe", "translate")}
    return made


def _model_config(sizes: WhisperSizes, specials: Mapping[str, int]) -> dict[str, Any]:
    import attrs

    end = specials["<|endoftext|>"]
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float16",
        "activation_function": "gelu",
        "is_encoder_decoder": True,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": specials["<|startoftranscript|>"],
        **attrs.asdict(sizes),
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
