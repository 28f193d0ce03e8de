"""The tokenizer made from a GGUF file's metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_llm.gguf_file import GgufError
from mlpinf_llm.tokenizer import ChatTokenizer, build

if TYPE_CHECKING:
    from pathlib import Path


def _metadata(**changes: Any) -> dict[str, Any]:
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = ["<|im_start|>", "<|im_end|>", *letters, "th", "the"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, *([1] * (len(tokens) - 2))],
        "tokenizer.ggml.merges": ["t h", "th e"],
    } | changes


BYTES = ChatTokenizer(build(_metadata()))


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_encoding_and_decoding(text: str) -> None:
    if "<|im_" not in text:
        assert BYTES.decode(BYTES.encode(text)) == text


def test_merges_are_applied_in_order() -> None:
    assert BYTES.tokens(BYTES.encode("the th")) == ["the", "Ġ", "th"]


def test_digits_are_tokens_of_their_own() -> None:
    digits = _metadata()
    digits["tokenizer.ggml.tokens"] = [*digits["tokenizer.ggml.tokens"], "12"]
    digits["tokenizer.ggml.token_type"] = [*digits["tokenizer.ggml.token_type"], 1]
    digits["tokenizer.ggml.merges"] = [*digits["tokenizer.ggml.merges"], "1 2"]
    tokens = ChatTokenizer(build(digits))
    assert tokens.tokens(tokens.encode("12")) == ["1", "2"]


def test_special_tokens_are_one_id_and_are_left_out_of_text() -> None:
    ids = BYTES.encode_chat("hi", "Well")
    assert ids[0] == 0
    assert ids.count(BYTES.end_id) == 1
    assert BYTES.decode(ids) == "user\nhi\nassistant\nWell"


def test_the_beginning_of_an_answer_stands_right_at_the_end() -> None:
    assert BYTES.encode_chat(" hi ", "the") == [*BYTES.encode_chat("hi"), *BYTES.encode("the")]


def test_decoding_passes_over_ids_outside_the_vocabulary() -> None:
    assert BYTES.decode([-1, *BYTES.encode("ok"), 10**6, 2**31 - 1]) == "ok"


def test_tokens_of_an_id_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError, match="1000000"):
        BYTES.tokens([10**6])


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    BYTES.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert ChatTokenizer.load(path).encode("the <|im_end|>") == BYTES.encode("the <|im_end|>")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": 1}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer"):
        ChatTokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.pre": "llama-bpe"}, "llama-bpe"),
        ({"tokenizer.ggml.model": "llama"}, "'llama'"),
        ({"tokenizer.ggml.tokens": None}, "tokens"),
        ({"tokenizer.ggml.token_type": [1]}, "one entry a token"),
        ({"tokenizer.ggml.merges": ["t h e"]}, "not two tokens"),
        ({"tokenizer.ggml.merges": ["th xyz"]}, "do not fit"),
    ],
)
def test_metadata_that_would_give_other_ids_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GgufError, match=message):
        build(_metadata(**changes))


@pytest.mark.model
def test_the_tiny_models_ids_are_those_of_an_independent_implementation(
    engines: dict[str, Path], data: Path
) -> None:
    fixture = json.loads((data / "tokenizer_fixture.json").read_text(encoding="utf-8"))
    tokens = ChatTokenizer.load(engines["int8"])
    found = {case["text"]: tokens.encode(case["text"]) for case in fixture["cases"]}
    assert found == {case["text"]: case["ids"] for case in fixture["cases"]}


@pytest.mark.model
def test_the_tiny_models_text_survives_encoding_and_decoding(
    engines: dict[str, Path], data: Path
) -> None:
    fixture = json.loads((data / "tokenizer_fixture.json").read_text(encoding="utf-8"))
    tokens = ChatTokenizer.load(engines["int8"])
    special = ("<|", "<repo")
    texts = [c["text"] for c in fixture["cases"] if not any(s in c["text"] for s in special)]
    assert len(texts) > 50
    assert [tokens.decode(tokens.encode(text)) for text in texts] == texts
