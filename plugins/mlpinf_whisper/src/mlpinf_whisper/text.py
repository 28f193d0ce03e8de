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
_LEAST_TOKENS: Final = 2
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


def outputs(
    tokenizer: WhisperTokenizer, answers: Sequence[npt.NDArray[np.int32]], cap: int
) -> Outputs:
    """Answers as the benchmark's responses.

    The tokens that LoadGen is told are those that the model generated: the text's and the one that
    ends it, as the reference counts them; a text that ran into the cap has no end. LoadGen takes
    no fewer than 2 in Offline, so a silent clip, whose answer is the end alone, is told as 2.

    Args:
        tokenizer: of the model that gave them.
        answers: int32 [tokens] each: the text's ids, without the prompt and the end.
        cap: most tokens that were generated for a clip.

    Returns:
        labels, int64 [characters] each, and the number of tokens.
    """
    responses = [alphabet.encode(text) for text in tokenizer.texts(answers)]
    lengths = np.array([len(answer) for answer in answers], dtype=np.int64)
    return Outputs(responses, np.clip(lengths + 1, _LEAST_TOKENS, cap))
