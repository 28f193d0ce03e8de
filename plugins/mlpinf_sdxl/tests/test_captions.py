"""Captions files are read as the reference reads them, and wrong ones refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_sdxl import captions, data, tiny
from mlpinf_sdxl.training import scenes

if TYPE_CHECKING:
    from pathlib import Path


def test_the_tiny_captions_are_scenes_that_training_never_saw() -> None:
    texts = captions.read(tiny.folder() / "captions.tsv")
    seen = {scene.caption for scene in scenes.parted()[0]}

    assert len(set(texts)) == tiny.SAMPLES
    assert [scenes.parse(text).caption for text in texts] == texts
    assert not seen & set(texts)


def test_quotes_and_tabs_in_a_caption_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text('id\tcaption\n1\t"A ""red"" cat\tsits"\n', "utf-8")

    assert captions.read(path) == ['A "red" cat\tsits']


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id\ttext\n1\tx\n", "no column 'caption'"),
        ("id\tcaption\n1\n", "there is no caption"),
        ("id\tcaption\n1\tx\ty\n", "or too much"),
        ("", "no column"),
    ],
)
def test_a_file_that_is_no_captions_file_is_refused(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text(content, "utf-8")

    with pytest.raises(IntegrityError, match=said):
        captions.read(path)


def test_a_folder_without_captions_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"captions\.tsv and captions_source\.tsv"):
        captions.find(tmp_path)


def test_latents_for_another_size_of_image_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latents.npy"
    np.save(path, np.zeros((1, 4, 64, 64), np.float32))

    with pytest.raises(IntegrityError, match="images of 1024 pixels"):
        data.read_latents(path, (1, 4, 128, 128))
