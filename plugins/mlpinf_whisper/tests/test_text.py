"""Token ids become responses, and the prompt is the one that the rules ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_core.errors import IntegrityError
from mlpinf_whisper import alphabet
from mlpinf_whisper.text import WhisperTokenizer, outputs

if TYPE_CHECKING:
    from pathlib import Path

WORDS = {"He": 0, "was": 1, "There": 2, ".": 3, "[UNK]": 4}
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]


def save_tokenizer(folder: Path, end: int, special: list[str] = SPECIAL) -> None:
    """A word-level tokenizer whose special tokens begin at ``end``, as Whisper's do."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel

    filler = {f"[{number}]": number for number in range(len(WORDS), end)}
    tokenizer = Tokenizer(WordLevel({**WORDS, **filler}, unk_token="[UNK]"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))


def test_a_multilingual_model_is_asked_for_english_without_timestamps(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, 50_257)
    tokenizer = WhisperTokenizer.load(tmp_path)
    assert tokenizer.end == 50_257
    assert tokenizer.prompt == (50_258, 50_259, 50_260, 50_261)


def test_an_english_model_is_not_told_the_language(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, 50_256)
    tokenizer = WhisperTokenizer.load(tmp_path)
    assert tokenizer.end == 50_256
    assert tokenizer.prompt == (50_257, 50_260)


def test_a_response_is_the_labels_of_the_text_and_counts_the_models_own_tokens(
    tmp_path: Path,
) -> None:
    save_tokenizer(tmp_path, 50_256)
    answers = [np.array(ids, dtype=np.int32) for ids in ([0, 1, 2, 3], [2], [])]
    found = outputs(WhisperTokenizer.load(tmp_path), answers, cap=10)
    assert [alphabet.decode(response) for response in found.data] == ["he was there ", "there", ""]
    assert all(response.dtype == np.int64 for response in found.data)
    assert found.n_tokens is not None
    assert found.n_tokens.tolist() == [5, 2, 2]  # with the end; LoadGen takes no fewer than 2


def test_a_text_that_ran_into_the_cap_has_no_end_to_be_counted(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, 50_256)
    answers = [np.array(ids, dtype=np.int32) for ids in ([0, 1, 2, 3], [0, 1, 2])]
    found = outputs(WhisperTokenizer.load(tmp_path), answers, cap=4)
    assert found.n_tokens is not None
    assert found.n_tokens.tolist() == [4, 4]


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="the tokenizer cannot be read") as caught:
        WhisperTokenizer.load(tmp_path)
    assert caught.value.where == str(tmp_path / "tokenizer.json")


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, 100, special=["<|endoftext|>", "<|startoftranscript|>"])
    with pytest.raises(IntegrityError, match=r"not Whisper's: it has no <\|notimestamps\|>"):
        WhisperTokenizer.load(tmp_path)
