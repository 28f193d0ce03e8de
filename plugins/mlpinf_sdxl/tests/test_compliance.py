"""A submission's images are saved from the log that has them, and from no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_sdxl import compliance
from mlpinf_sdxl.samples import CaptionSamples

if TYPE_CHECKING:
    from pathlib import Path

NONE: Any = np.zeros(0)


class Answered:
    """Images of some samples, each of one colour."""

    def __init__(self, *rows: int) -> None:
        self.rows = np.array(rows)
        self.entries = np.arange(len(rows))

    def image(self, entry: int, row: int) -> Any:
        return np.full((8, 8, 3), row % 256, np.uint8)


def saved(answers: Answered, folder: Path, samples: int) -> set[str]:
    captions = CaptionSamples(("a scene",) * samples, NONE, NONE, NONE, None)
    compliance.save(answers, captions, folder)  # type: ignore[arg-type]
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_images_that_a_submission_shows_are_saved(tmp_path: Path) -> None:
    found = saved(Answered(3, *compliance.INDICES), tmp_path / "images", 5000)

    assert found == {
        compliance.CAPTIONS,
        compliance.SHEET,
        *(f"{index}.png" for index in compliance.INDICES),
    }


@pytest.mark.parametrize(("rows", "samples"), [((3, 4), 5000), ((40,), 64)])
def test_a_log_without_them_leaves_no_folder(
    tmp_path: Path, rows: tuple[int, ...], samples: int
) -> None:
    assert saved(Answered(*rows), tmp_path / "images", samples) == set()
    assert not (tmp_path / "images").exists()
