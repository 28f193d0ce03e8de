"""Only the calibration captions may lead a UNet into 8 bits, and all of them have to be there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core import benchmark
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl import calibration, captions, tiny
from mlpinf_sdxl.benchmarks import TENSORRT, SdxlSettings, all_backends
from mlpinf_sdxl.training import pack, scenes

if TYPE_CHECKING:
    from pathlib import Path

IDS = range(1000, 1500)


def a_run(variant: Variant, **settings: Any) -> Any:
    return SimpleNamespace(
        workload=SimpleNamespace(variant=variant),
        config=SimpleNamespace(benchmark=SdxlSettings(**settings)),
    )


def write(path: Path, ids: Any = IDS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{one}\t{one + 1}\tcaption {one}\n" for one in ids]
    path.write_text("id\timage_id\tcaption\n" + "".join(lines), "utf-8")
    return path


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """These ids in the place of the reference's list."""
    monkeypatch.setattr(calibration, "CALIBRATION_IDS_DIGEST", captions.digest(map(str, IDS)))


def test_the_tiny_variants_are_scenes_that_the_benchmark_does_not_have(tmp_path: Path) -> None:
    found = calibration.read(a_run(Variant.TINY))

    assert len(found) == 32
    assert all(scenes.parse(text).caption == text for text in found)
    assert not set(found) & set(captions.read(tiny.folder() / "captions.tsv"))
    pack.calibration(tmp_path / "again.tsv")
    assert (tmp_path / "again.tsv").read_bytes() == tiny.calibration().read_bytes()


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("calibration_path", "calibration/captions.tsv"),
        ("calibration_path", "calibration"),
        ("calibration_path", "."),
        ("data_path", "."),
        ("data_path", "captions"),
    ],
)
def test_they_are_found_in_the_references_layout(key: str, given: str, tmp_path: Path) -> None:
    write(tmp_path / "calibration" / "captions.tsv", reversed(IDS))

    found = calibration.read(a_run(Variant.FULL, **{key: tmp_path / given}))

    assert found == tuple(f"caption {one}" for one in IDS)


@pytest.mark.parametrize("key", ["calibration_path", "data_path"])
def test_missing_ones_say_where_they_were_looked_for(key: str, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no calibration captions") as refused:
        calibration.read(a_run(Variant.FULL, **{key: tmp_path}))

    assert str(tmp_path / "calibration" / "captions.tsv") in refused.value.what
    assert "benchmark.calibration_path" in str(refused.value.where)
    assert "download-coco-2014-calibration.sh" in str(refused.value.remedy)


def test_captions_that_are_fetched_bring_none_to_calibrate_with() -> None:
    with pytest.raises(PrerequisiteError, match="no calibration captions"):
        calibration.read(a_run(Variant.FULL))


@pytest.mark.usefixtures("listed")
def test_too_few_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "captions.tsv", IDS[:-1])

    with pytest.raises(IntegrityError, match="there are 499, and 500"):
        calibration.read(a_run(Variant.FULL, calibration_path=path))


@pytest.mark.parametrize("last", [1499, "1500x"])
def test_other_ones_than_the_references_are_refused(last: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "captions.tsv", IDS[:-1])
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{last}\t1\tanother\n")

    with pytest.raises(IntegrityError, match="their ids are not those of the reference's list"):
        calibration.read(a_run(Variant.FULL, calibration_path=path))


def test_what_measures_activations_is_a_prerequisite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "is_installed", lambda module: module != "onnxruntime")
    backend = next(one for one in all_backends() if one.name == TENSORRT)

    with pytest.raises(PrerequisiteError, match="needs what is not installed") as refused:
        backend.require()

    assert "mlpinf-sdxl[tensorrt]" in str(refused.value.remedy)
