"""A Hugging Face Whisper checkpoint: what has to be in its folder, and whether it is.

Checked before anything heavy is imported: a download that broke off is one message that names the
file, and not a stack trace out of the middle of a model's construction.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.files import reading

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: Final = "config.json"
GENERATION_CONFIG: Final = "generation_config.json"
TOKENIZER: Final = "tokenizer.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_HEADER_LIMIT: Final = 100_000_000
"""Bytes; the limit of the format's own reader."""
_ITEM_SIZES: Final = {"F32": 4, "F16": 2, "BF16": 2}
_TIED: Final = "proj_out.weight"
"""The output projection: the same tensor as the token embedding, so often left out."""

_SPECIAL: Final = {
    "<|startoftranscript|>": "decoder_start_token_id",
    "<|endoftext|>": "eos_token_id",
    "<|notimestamps|>": "no_timestamps_token_id",
}
"""Tokens that decoding begins and ends with, and what the generation configuration calls them."""
_ENGLISH: Final = ("<|en|>", "<|transcribe|>")
"""Tokens that a multilingual model's prompt has besides."""

Shapes = Mapping[str, tuple[int, ...]]


@attrs.frozen
class WhisperSizes:
    """What the shapes of a Whisper model follow from; named as in ``config.json``."""

    vocab_size: int
    num_mel_bins: int
    d_model: int
    encoder_layers: int
    encoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_attention_heads: int
    decoder_ffn_dim: int
    max_source_positions: int
    max_target_positions: int

    @classmethod
    def of(cls, config: Mapping[str, Any], where: Path) -> WhisperSizes:
        """The sizes that a ``config.json`` states.

        Raises:
            IntegrityError: one is missing, or not a positive number, or heads do not divide it.
        """
        found = {field.name: config.get(field.name) for field in attrs.fields(cls)}
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _damaged(where, f"{name} is {value!r} instead of a positive number")
        sizes = cls(**{name: int(value) for name, value in found.items() if value is not None})
        for heads in (sizes.encoder_attention_heads, sizes.decoder_attention_heads):
            if sizes.d_model % heads:
                raise _damaged(where, f"{heads} heads do not divide the width {sizes.d_model}")
        return sizes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the model by its name in a checkpoint, the tied projection left out."""
        width = self.d_model
        shapes = {
            "model.encoder.conv1.weight": (width, self.num_mel_bins, 3),
            "model.encoder.conv1.bias": (width,),
            "model.encoder.conv2.weight": (width, width, 3),
            "model.encoder.conv2.bias": (width,),
            "model.encoder.embed_positions.weight": (self.max_source_positions, width),
            "model.decoder.embed_positions.weight": (self.max_target_positions, width),
            "model.decoder.embed_tokens.weight": (self.vocab_size, width),
            **_norm("model.encoder.layer_norm", width),
            **_norm("model.decoder.layer_norm", width),
        }
        for layer in range(self.encoder_layers):
            name = f"model.encoder.layers.{layer}"
            shapes |= _attention(f"{name}.self_attn", width)
            shapes |= _feed_forward(name, width, self.encoder_ffn_dim)
        for layer in range(self.decoder_layers):
            name = f"model.decoder.layers.{layer}"
            shapes |= _attention(f"{name}.self_attn", width)
            shapes |= _attention(f"{name}.encoder_attn", width)
            shapes |= _feed_forward(name, width, self.decoder_ffn_dim)
        return shapes


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _attention(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Four projections, the keys' without a bias, and the norm before them."""
    shapes: dict[str, tuple[int, ...]] = dict(_norm(f"{name}_layer_norm", width))
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes[f"{name}.{part}.weight"] = (width, width)
        if part != "k_proj":
            shapes[f"{name}.{part}.bias"] = (width,)
    return shapes


def _feed_forward(name: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {
        **_norm(f"{name}.final_layer_norm", width),
        f"{name}.fc1.weight": (inner, width),
        f"{name}.fc1.bias": (inner,),
        f"{name}.fc2.weight": (width, inner),
        f"{name}.fc2.bias": (width,),
    }


def check_checkpoint(folder: Path) -> WhisperSizes:
    """Check that a folder holds a whole Whisper checkpoint, reading no weights.

    Returns:
        The model's sizes.

    Raises:
        PrerequisiteError: the folder or a file of it is missing, or cannot be read.
        IntegrityError: a file is damaged, truncated, or does not fit the others.
    """
    with reading(folder):
        if not folder.is_dir():
            raise PrerequisiteError(
                "the checkpoint is not a folder",
                where=str(folder),
                remedy="give the folder that holds its config.json",
            )
    config = read_json(folder / CONFIG)
    if config.get("model_type") != "whisper":
        raise _damaged(folder / CONFIG, f"its model_type is {config.get('model_type')!r}")
    sizes = WhisperSizes.of(config, folder / CONFIG)
    generation = _generation(folder / GENERATION_CONFIG, sizes)
    _check_tokenizer(folder / TOKENIZER, generation, sizes)
    _check_tensors(folder, sizes.shapes())
    return sizes


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint.

    Raises:
        PrerequisiteError: it is missing, or cannot be read.
        IntegrityError: it is not JSON, or not an object.
    """
    with reading(path):
        if not path.is_file():
            raise _missing(path)
        content = path.read_bytes()
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _damaged(path, "it is not a JSON object")
    return found


def _generation(path: Path, sizes: WhisperSizes) -> dict[str, Any]:
    """The generation configuration; its token ids are in the vocabulary."""
    config = read_json(path)
    for key in _SPECIAL.values():
        if not _is_token(config.get(key), sizes):
            raise _damaged(path, f"{key} is {config.get(key)!r}, not a token of the vocabulary")
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        tokens = config.get(key) or []
        if not isinstance(tokens, list) or not all(_is_token(token, sizes) for token in tokens):
            raise _damaged(path, f"{key} is not a list of tokens of the vocabulary")
    return config


def _check_tokenizer(path: Path, generation: Mapping[str, Any], sizes: WhisperSizes) -> None:
    """The tokenizer is this model's: decoding takes the ids of its special tokens."""
    ids = _special_ids(path)
    for token, key in _SPECIAL.items():
        if ids.get(token) != generation[key]:
            has = f"{token} is {ids[token]}" if token in ids else f"it has no {token}"
            raise _another(
                path, f"{has}, and the {key} of {GENERATION_CONFIG} is {generation[key]}"
            )
    for token in _ENGLISH:
        if token in ids and not _is_token(ids[token], sizes):
            raise _another(path, f"{token} is {ids[token]}, not a token of the vocabulary")


def _special_ids(path: Path) -> dict[str, Any]:
    """The ids of a tokenizer's tokens that are no text."""
    listed = read_json(path).get("added_tokens")
    try:
        return {token["content"]: token["id"] for token in listed or ()}
    except (TypeError, KeyError) as error:
        raise _damaged(path, "its added_tokens are not a list of contents and ids") from error


def _another(path: Path, how: str) -> IntegrityError:
    return IntegrityError(
        f"the tokenizer is another model's: {how}",
        where=str(path),
        remedy="put the tokenizer.json there that belongs to the weights",
    )


def _is_token(value: Any, sizes: WhisperSizes) -> bool:
    return type(value) is int and 0 <= value < sizes.vocab_size


def _check_tensors(folder: Path, expected: Shapes) -> None:
    """The weights' names and shapes, from the headers of their files."""
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in _weight_files(folder):
        for name, shape in safetensors_header(path).items():
            found[name] = (path, shape)
    weights = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else INDEX)
    for name, wanted in expected.items():
        if name not in found:
            raise _damaged(weights, f"tensor {name} is missing")
        path, shape = found[name]
        if shape != wanted:
            raise _damaged(path, f"tensor {name} is {shape}, and {CONFIG} makes it {wanted}")
    unknown = sorted(found.keys() - expected.keys() - {_TIED})
    if unknown:
        raise _damaged(weights, f"{len(unknown)} tensors are not Whisper's, such as {unknown[0]}")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise _missing(folder / WEIGHTS)
    names = read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise _damaged(folder / INDEX, "it has no weight_map of file names")
    return [folder / name for name in sorted(set(names.values()))]


def safetensors_header(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file, by name.

    Raises:
        PrerequisiteError: there is no such file, or it cannot be read.
        IntegrityError: the header is damaged, a tensor is not floating-point, or the file is
            shorter or longer than its header says.
    """
    start, text, size = _header(path)
    try:
        header = json.loads(text)
        shapes, end = {}, 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            shapes[name], stop = _entry(name, entry)
            end = max(end, stop)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"its header cannot be read: {error}") from error
    except KeyError as error:
        raise _damaged(path, f"its header lacks {error} of a tensor") from error
    whole = start + len(text) + end
    if size != whole:
        raise _damaged(path, f"it has {size} bytes, and its header says {whole}")
    return shapes


def _header(path: Path) -> tuple[int, bytes, int]:
    """Where a safetensors file's header begins, its text, and the file's size."""
    with reading(path):
        if not path.is_file():
            raise _missing(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == len(b"<u8 size") else None
            if length is None or length > min(size - len(start), _HEADER_LIMIT):
                raise _damaged(path, "it is truncated, or not a safetensors file")
            return len(start), file.read(length), size


def _entry(name: str, entry: Mapping[str, Any]) -> tuple[tuple[int, ...], int]:
    """Shape and last byte of one tensor; raises ValueError where the two do not agree."""
    shape = tuple(int(length) for length in entry["shape"])
    begin, end = entry["data_offsets"]
    if entry["dtype"] not in _ITEM_SIZES:
        raise ValueError(f"tensor {name} is {entry['dtype']}, not floating-point")
    expected = _ITEM_SIZES[entry["dtype"]]
    for length in shape:
        expected *= length
    if end - begin != expected:
        raise ValueError(f"tensor {name} of shape {shape} has {end - begin} bytes")
    return shape, int(end)


def _missing(path: Path) -> PrerequisiteError:
    return PrerequisiteError(
        f"the checkpoint has no {path.name}",
        where=str(path),
        remedy="fetch the whole checkpoint, in safetensors format",
    )


def _damaged(path: Path, how: str) -> IntegrityError:
    return IntegrityError(
        f"the checkpoint cannot be used: {how}", where=str(path), remedy="fetch the file again"
    )
