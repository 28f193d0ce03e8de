"""Token ids and text: the prompt that asks for a transcript, and what the model's answer says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import numpy as np

from mlpinf_core.errors import IntegrityError
from mlpinf_core.protocols import Outputs
from mlpinf_whisper import alphabet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

FILE: Final = "tokenizer.json"
"""The tokenizer in a model folder, of either format."""
_END: Final = "<|endoftext|>"
_ENGLISH_ONLY: Final = ("<|startoftranscript|>", "<|notimestamps|>")
_MULTILINGUAL: Final = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
#: In the vocabulary of the multilingual models, which has one more entry below it.
_MULTILINGUAL_END: Final = 50_257


@attrs.frozen(eq=False)
class WhisperTokenizer:
    """A model's tokenizer. Thread-safe.

    Attributes:
        prompt: ids that the decoder begins with: English, transcribe, no timestamps.
        end: the id that ends a transcript.
    """

    prompt: tuple[int, ...]
    end: int
    _tokenizer: Any

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Of a model folder.

        Raises:
            IntegrityError: its tokenizer is missing, unreadable, or not Whisper's.
        """
        from tokenizers import Tokenizer

        path = folder / FILE
        try:
            tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise IntegrityError(
                f"the tokenizer cannot be read: {error}", where=str(path)
            ) from error
        end = tokenizer.token_to_id(_END)
        wanted = _MULTILINGUAL if end == _MULTILINGUAL_END else _ENGLISH_ONLY
        ids = {token: tokenizer.token_to_id(token) for token in (*wanted, _END)}
        lacking = [token for token, id_ in ids.items() if id_ is None]
        if lacking:
            raise IntegrityError(
                f"the tokenizer is not Whisper's: it has no {' and no '.join(lacking)}",
                where=str(path),
            )
        return cls(tuple(ids[token] for token in wanted), end, tokenizer)

    def texts(self, answers: Sequence[npt.NDArray[np.int32]]) -> list[str]:
        """What answers say; ids of text only."""
        ids = [answer.tolist() for answer in answers]
        texts: list[str] = self._tokenizer.decode_batch(ids, skip_special_tokens=True)
        return texts


def outputs(tokenizer: WhisperTokenizer, answers: Sequence[npt.NDArray[np.int32]]) -> Outputs:
    """Answers as the benchmark's responses.

    Args:
        tokenizer: of the model that gave them.
        answers: int32 [tokens] each: the text's ids, without the prompt and the end.

    Returns:
        labels, int64 [characters] each, and the number of the model's own tokens.
    """
    responses = [alphabet.encode(text) for text in tokenizer.texts(answers)]
    return Outputs(responses, np.array([len(answer) for answer in answers], dtype=np.int64))
