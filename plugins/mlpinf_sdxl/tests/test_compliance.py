"""A submission's images are saved from the log that has them, and from no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_sdxl import compliance
from mlpinf_sdxl.samples import CaptionSamples

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NONE: Any = np.zeros(0)


class Answered:
    """Images of some samples, each of one colour."""

    def __init__(self, *rows: int) -> None:
        self.rows = np.array(rows)
        self.entries = np.arange(len(rows))

    def image(self, entry: int, row: int) -> Any:
        return np.full((8, 8, 3), row % 256, np.uint8)


def saved(answers: Answered, folder: Path, samples: int, *more: Any) -> set[str]:
    captions = CaptionSamples(tuple(map(str, range(samples))), NONE, NONE, NONE, None)
    compliance.save(answers, captions, folder, *more)  # type: ignore[arg-type]
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def files_of(indices: Iterable[int]) -> set[str]:
    return {compliance.CAPTIONS, compliance.SHEET, *(f"{index}.png" for index in indices)}


@pytest.mark.parametrize("round_", ROUNDS)
def test_images_that_a_round_asks_for_are_saved(tmp_path: Path, round_: str) -> None:
    indices = compliance.indices_of(round_)
    found = saved(Answered(*range(5000)), tmp_path / "images", 5000, indices)

    assert found == files_of(indices)
    assert len(indices) == 10
    asked = load_round(round_).submission.images.get("stable-diffusion-xl", ())
    assert {f"{name}.png" for name in asked} <= found


def test_every_round_has_images_of_its_own() -> None:
    assert len({compliance.indices_of(round_) for round_ in ROUNDS}) == len(ROUNDS)


def test_a_small_data_set_presented_repeatedly_has_them_too(tmp_path: Path) -> None:
    indices = compliance.indices_of("v6.0")
    found = saved(Answered(*range(64)), tmp_path / "images", 64, indices, 5000)

    assert found == files_of(indices)
    lines = (tmp_path / "images" / compliance.CAPTIONS).read_text().splitlines()
    assert lines == [f"{index}  {index % 64}" for index in indices]
    pixels = Image.open(tmp_path / "images" / f"{indices[0]}.png").getpixel((0, 0))
    assert pixels == (indices[0] % 64,) * 3


@pytest.mark.parametrize("presented", [None, 4000])
def test_of_a_data_set_without_such_samples_the_first_are_saved(
    tmp_path: Path, presented: int | None
) -> None:
    indices = compliance.indices_of("v5.1")
    found = saved(Answered(*range(64)), tmp_path / "images", 64, indices, presented)

    assert found == files_of(range(20))


@pytest.mark.parametrize(("rows", "samples"), [((3, 4), 5000), ((40,), 64)])
def test_a_log_without_them_leaves_no_folder(
    tmp_path: Path, rows: tuple[int, ...], samples: int
) -> None:
    indices = compliance.indices_of("v6.1")
    assert saved(Answered(*rows), tmp_path / "images", samples, indices) == set()
    assert not (tmp_path / "images").exists()
