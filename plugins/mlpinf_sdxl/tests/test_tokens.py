"""Prompts become the ids that CLIP's own tokenizer makes of them."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError
from mlpinf_sdxl import captions, tiny
from mlpinf_sdxl.benchmarks import NEGATIVE_PROMPT
from mlpinf_sdxl.tokens import ClipTokenizer

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = ("tokenizer", "tokenizer_2")


@functools.cache
def pair(name: str) -> tuple[ClipTokenizer, Any]:
    from transformers import CLIPTokenizer

    folder = tiny.pipeline() / name
    return ClipTokenizer.of_folder(folder), CLIPTokenizer.from_pretrained(str(folder))


def theirs(tokenizer: Any, prompts: list[str]) -> Any:
    return tokenizer(
        prompts, padding="max_length", max_length=24, truncation=True, return_tensors="np"
    ).input_ids


@pytest.mark.parametrize("name", _NAMES)
def test_every_caption_and_the_negative_prompt_agree_with_transformers(name: str) -> None:
    ours, other = pair(name)
    prompts = [*captions.read(tiny.folder() / "captions.tsv"), NEGATIVE_PROMPT]

    np.testing.assert_array_equal(ours.rows(prompts), theirs(other, prompts))


@example(prompt="!")
@example(prompt="a red circle!! above!a square")
@given(prompt=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_prompt_agrees_with_transformers(prompt: str) -> None:
    ours, other = pair("tokenizer_2")

    np.testing.assert_array_equal(ours.rows([prompt]), theirs(other, [prompt]))


def test_a_folder_without_merges_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(tiny.pipeline() / "tokenizer", folder)
    (folder / "merges.txt").unlink()

    with pytest.raises(IntegrityError, match=r"merges\.txt"):
        ClipTokenizer.of_folder(folder)
