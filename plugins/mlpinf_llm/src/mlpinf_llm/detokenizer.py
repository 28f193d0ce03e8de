"""Text of generated ids, as Hugging Face's tokenizer of the checkpoint makes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs
import tokenizers

from mlpinf_core.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FILES: Final = ("tokenizer.json", "tokenizer_config.json")
_CLEANED: Final = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
"""What ``clean_up_tokenization_spaces`` stands for: the Llama 3.1 models have it on, and their
official scores are of text that was cleaned so."""


@attrs.frozen
class Detokenizer:
    """A checkpoint's tokenizer, for decoding.

    Attributes:
        tokenizer: of its ``tokenizer.json``.
        cleans: whether spaces before punctuation are taken out, as ``tokenizer_config.json`` says.
    """

    tokenizer: tokenizers.Tokenizer
    cleans: bool

    @classmethod
    def load(cls, folder: Path) -> Detokenizer:
        """Load the tokenizer of a checkpoint's folder.

        Raises:
            IntegrityError: its files are missing or damaged.
        """
        file, settings_file = (folder / name for name in _FILES)
        try:
            tokenizer = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
            settings = json.loads(settings_file.read_text(encoding="utf-8"))
            cleans = bool(settings.get("clean_up_tokenization_spaces", False))
        except Exception as error:  # the Rust extension raises bare Exception
            raise IntegrityError(
                f"the tokenizer cannot be read: {error}",
                where=str(folder),
                remedy=f"give the checkpoint's folder, with {' and '.join(_FILES)}",
            ) from error
        return cls(tokenizer, cleans)

    def decode(self, outputs: Sequence[Sequence[int]]) -> list[str]:
        """The texts of answers, without special tokens.

        Ids outside the vocabulary are passed over, so that damaged output is scored, badly, and
        does not end the scoring.
        """
        size = self.tokenizer.get_vocab_size()
        known = [[index for index in ids if 0 <= index < size] for ids in outputs]
        texts: list[str] = self.tokenizer.decode_batch(known, skip_special_tokens=True)
        return [_cleaned(text) for text in texts] if self.cleans else texts


def _cleaned(text: str) -> str:
    for spaced, clean in _CLEANED:
        text = text.replace(spaced, clean)
    return text
