"""The tiny tokenizers: CLIP's format, with a vocabulary of the words that scenes need."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.training import scenes

if TYPE_CHECKING:
    from pathlib import Path

_NEGATIVE: Final = "normal quality low worst res blurry nsfw nude"
_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"


def write(folder: Path, padding: str) -> None:
    """Write a tokenizer folder.

    Args:
        folder: where.
        padding: the token that fills a row: SDXL's first tokenizer repeats the end token, its
            second writes ``!``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    characters = list(_byte_characters())
    merges = _merges(_words())
    tokens = [*characters, *(f"{one}</w>" for one in characters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += [f"<|unused{index}|>" for index in range(tiny_model.VOCABULARY - len(tokens) - 2)]
    tokens += [_START, _END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != tiny_model.VOCABULARY:
        raise ValueError(f"{len(vocabulary)} tokens, the encoders have {tiny_model.VOCABULARY}")
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    special = {
        "bos_token": _START,
        "eos_token": _END,
        "unk_token": _END,
        "pad_token": padding,
    }
    config = {
        **special,
        "model_max_length": tiny_model.TOKENS,
        "tokenizer_class": "CLIPTokenizer",
        "do_lower_case": True,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=1) + "\n", "utf-8")


def _words() -> list[str]:
    tables = (scenes.SIZES, scenes.COLOURS, scenes.SHAPES, scenes.RELATIONS)
    words = ["a", *(word for table in tables for name in table for word in name.split())]
    return [*words, *_NEGATIVE.split()]


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Pairs that, merged in this order, make one token of each word."""
    found: dict[tuple[str, str], None] = {}
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        whole = parts[0]
        for part in parts[1:]:
            found[(whole, part)] = None
            whole += part
    return list(found)


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
