"""The full variant is scored with the published files, and as the scores are defined."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_sdxl import fidelity
from mlpinf_sdxl.fidelity import ScoringFile, clip_weights, frechet_distance

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OBJECT = hashlib.sha1(b"blob 7\0" + CONTENT).hexdigest()


@pytest.mark.parametrize("digest", [SHA256, SHA256[:8], OBJECT])
def test_a_file_is_known_by_any_of_its_hashes(tmp_path: Path, digest: str) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    assert ScoringFile("file", digest, "there").check(tmp_path) == tmp_path / "file"


@pytest.mark.parametrize("digest", [SHA256, SHA256[:8], OBJECT])
def test_another_file_of_that_name_is_refused(tmp_path: Path, digest: str) -> None:
    (tmp_path / "file").write_bytes(b"others")

    with pytest.raises(IntegrityError, match="file is another file"):
        ScoringFile("file", digest, "there").check(tmp_path)


def test_a_file_that_is_missing_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        fidelity.check(tmp_path)

    assert fidelity.STATISTICS.source in (caught.value.remedy or "")


def test_equal_distributions_are_not_apart() -> None:
    seen = np.random.default_rng(0).standard_normal((100, 6))
    mean, spread = seen.mean(0), np.cov(seen, rowvar=False)

    assert frechet_distance(mean, spread, mean, spread) == pytest.approx(0, abs=1e-9)


def test_independent_numbers_are_as_far_apart_as_their_means_and_deviations() -> None:
    rng = np.random.default_rng(1)
    mean, other = rng.standard_normal((2, 5))
    deviation, other_deviation = rng.uniform(0.5, 2, (2, 5))

    found = frechet_distance(mean, np.diag(deviation**2), other, np.diag(other_deviation**2))

    wanted = ((mean - other) ** 2).sum() + ((deviation - other_deviation) ** 2).sum()
    assert found == pytest.approx(wanted)


class Archived(torch.nn.Module):
    """Weights, with a size among them as CLIP's archive has it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(3.0))
        self.register_buffer("vocab_size", torch.tensor(49408))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def test_the_weights_of_a_torchscript_archive_are_read_without_its_sizes(tmp_path: Path) -> None:
    path = tmp_path / "archive.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript as a whole is deprecated
        torch.jit.script(Archived()).save(str(path))

    found = clip_weights(path)

    assert list(found) == ["weight"]
    assert found["weight"].tolist() == [0, 1, 2]
