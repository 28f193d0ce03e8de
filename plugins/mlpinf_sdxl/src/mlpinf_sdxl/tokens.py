"""CLIP's tokenisation of prompts, from a tokenizer folder of a pipeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
from tokenizers import Tokenizer

from mlpinf_core.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

_PATTERN: Final = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
"""How CLIP splits a prompt before its byte pairs are merged."""
_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"


@attrs.frozen
class ClipTokenizer:
    """Turns prompts into rows of token ids, padded and cut to the encoder's positions."""

    _tokenizer: Tokenizer
    _length: int

    @classmethod
    def of_folder(cls, folder: Path) -> ClipTokenizer:
        """Read ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json``.

        Raises:
            IntegrityError: a file is missing or unreadable.
        """
        try:
            vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
            lines = (folder / "merges.txt").read_text("utf-8").splitlines()
            config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
            length = int(config["model_max_length"])
            padding = _content(config.get("pad_token", _END))
            merges = [(left, right) for left, right in map(str.split, lines[1:])]
            return cls(_bpe(vocabulary, merges, length, padding), length)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise IntegrityError(
                f"this is no readable CLIP tokenizer: {problem}",
                where=str(folder),
                remedy="give the tokenizer folder of an SDXL pipeline, with vocab.json, "
                "merges.txt and tokenizer_config.json",
            ) from problem

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return self._length

    def rows(self, prompts: Sequence[str]) -> npt.NDArray[np.int64]:
        """The ids of prompts, [n, length]."""
        encoded = self._tokenizer.encode_batch(list(prompts))
        return np.array([one.ids for one in encoded], np.int64).reshape(-1, self._length)


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _bpe(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], length: int, padding: str
) -> Tokenizer:
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=_END,
        )
    )
    # The second encoder pads with "!", which is then no punctuation in a prompt either.
    special = dict.fromkeys((_START, _END, padding))
    tokenizer.add_special_tokens([AddedToken(token) for token in special])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(_START, vocabulary[_START]), (_END, vocabulary[_END])],
    )
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=vocabulary[padding], pad_token=padding)
    return tokenizer
