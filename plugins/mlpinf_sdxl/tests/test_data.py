"""A run's data set is the variant's own, whole, and tokenised once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.scratch import Scratch
from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl import data, tiny
from mlpinf_sdxl.benchmarks import SdxlSettings
from mlpinf_sdxl.data import DataSet, RandomData

if TYPE_CHECKING:
    from pathlib import Path


def a_run(tmp_path: Path, variant: Variant = Variant.TINY, **settings: Any) -> Any:
    said: list[str] = []
    noted: list[str] = []
    return SimpleNamespace(
        workload=SimpleNamespace(variant=variant),
        config=SimpleNamespace(benchmark=SdxlSettings(**settings)),
        rules=SimpleNamespace(dataset_size=5000),
        store=ArtifactStore(Scratch(tmp_path)),
        events=SimpleNamespace(step=said.append, said=said, note=noted.append, noted=noted),
        fetch=lambda source: tiny.pipeline(),
    )


def test_captions_are_tokenised_once(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    first = data.preprocessed(run, data.dataset(run))
    built = len(run.events.said)

    again = data.preprocessed(run, data.dataset(run))

    np.testing.assert_array_equal(again.first, first.first)
    assert len(run.events.said) == built > 0
    assert first.first.shape == (tiny.SAMPLES + 1, 24)
    assert first.image_size == 128


def test_a_captions_file_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text("id\tcaption\n1\ta large red circle above a small blue square\n", "utf-8")
    run = a_run(tmp_path, Variant.FULL)

    with pytest.raises(IntegrityError, match="1 captions, and the rules ask for 5000"):
        data.preprocessed(run, DataSet(path, tiny.folder() / "latents.npy"))


def test_as_many_other_captions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text("caption\n" + "a cat on a mat\n" * 5000, "utf-8")
    run = a_run(tmp_path, Variant.FULL)

    with pytest.raises(IntegrityError, match="others than the reference's, or in another order"):
        data.preprocessed(run, DataSet(path, tiny.folder() / "latents.npy"))


@pytest.mark.parametrize(
    "key", ["data_path", "model_path", "latents_path", "calibration_path", "scoring_path"]
)
def test_the_tiny_variant_takes_no_other_files(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match="brings its own files"):
        data.dataset(a_run(tmp_path, **{key: tmp_path}))


def test_random_weights_need_no_file(tmp_path: Path) -> None:
    run = a_run(tmp_path, Variant.FULL, random_weights=3)

    samples = data.preprocessed(run, data.dataset(run))

    assert data.dataset(run) == RandomData(3)
    assert len(samples) == 5000
    assert samples.first.shape == (5001, 77)
    assert samples.pipeline is None
    assert samples.image_size == 1024


def test_what_scoring_needs_is_missed_before_the_run(tmp_path: Path) -> None:
    run = a_run(tmp_path, Variant.FULL, random_weights=3, scoring_path=tmp_path)

    with pytest.raises(PrerequisiteError, match=r"scoring needs is missing: val2014\.npz"):
        data.dataset(run)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"random_weights": 3}, ["weights, prompts and latents were random"]),
        (
            {"random_weights": 3, "steps": 10, "guidance": 7.5},
            ["were random", "steps was 10, and the reference's is 20", "guidance was 7.5"],
        ),
    ],
)
def test_what_keeps_a_run_from_being_submitted_is_noted(
    tmp_path: Path, settings: dict[str, Any], said: list[str]
) -> None:
    run = a_run(tmp_path, Variant.FULL, **settings)

    data.dataset(run)

    assert len(run.events.noted) == len(said)
    for note, part in zip(run.events.noted, said, strict=True):
        assert note.startswith("not submittable: ")
        assert part in note


def test_the_reference_s_settings_are_noted_nowhere() -> None:
    assert list(data.notes(SdxlSettings())) == []
