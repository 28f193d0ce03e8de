"""The data set of a run, from the package, from folders and from archives."""

from __future__ import annotations

import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.hashing import sha256_of
from mlpinf_whisper import benchmarks, packing
from mlpinf_whisper.clips import read_clip
from mlpinf_whisper.data import dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Tree
    from mlpinf_core.context import Run
    from mlpinf_whisper.manifest import Manifest

    NewRun = Callable[..., Run]

PACKED = 7
"""Samples that the tree's chapters become: 2, 1, 2 and 2."""


def contents(manifest: Manifest) -> list[tuple[str, str, bytes]]:
    return [(one.path.name, one.transcript, one.path.read_bytes()) for one in manifest.entries]


@pytest.fixture
def archives(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two archives of the tree, declared as the benchmark's own."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in ("DEV_CLEAN", "DEV_OTHER"):
        source = getattr(benchmarks, name)
        path = folder / source.name
        with tarfile.open(path, "w:gz") as tar:
            part = source.name.removesuffix(".tar.gz")
            tar.add(tree.root / part, f"LibriSpeech/{part}")
        changed: dict[str, Any] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
        monkeypatch.setattr(benchmarks, name, attrs.evolve(source, **changed))
    return folder


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that something is packed."""
    counted: list[str] = []
    pack = packing.pack

    def counting(*arguments: Any) -> None:
        counted.append("packed")
        pack(*arguments)

    monkeypatch.setattr(packing, "pack", counting)
    return counted


def test_the_tiny_data_set_is_at_least_16_different_samples_of_6_to_30_s(new_run: NewRun) -> None:
    found = dataset(new_run())
    assert len(found) == benchmarks.TINY_SAMPLES >= 16
    waveforms = {read_clip(entry.path).tobytes() for entry in found.entries}
    assert len(waveforms) == len({entry.transcript for entry in found.entries}) == len(found)
    seconds = [entry.samples / 16000 for entry in found.entries]
    assert 6 <= min(seconds) < 10
    assert 29 < max(seconds) <= 30


def test_every_sample_of_the_tiny_data_set_is_its_clips_and_their_words(new_run: NewRun) -> None:
    entry = dataset(new_run()).entries[1]
    assert entry.path.name == "1-01_1.wav"
    assert entry.transcript == (
        "unless to be rather cold hearted and rather selfish is to be ill disposed "
        "he was not an ill disposed young man"
    )
    from mlpinf_whisper import tiny

    clips = [read_clip(one.path) for one in tiny.utterances()[5:7]]
    found = read_clip(entry.path)
    np.testing.assert_array_equal(found[: len(clips[0])], clips[0])
    np.testing.assert_array_equal(found[-len(clips[1]) :], clips[1])
    assert len(found) == len(clips[0]) + 8000 + len(clips[1])


def test_the_tiny_data_set_is_packed_once(new_run: NewRun, packings: list[str]) -> None:
    assert dataset(new_run()) == dataset(new_run())
    assert packings == ["packed"]


def test_a_packed_sample_that_was_damaged_is_packed_again(
    new_run: NewRun, packings: list[str]
) -> None:
    first = dataset(new_run())
    whole = contents(first)
    first.entries[3].path.write_bytes(b"RIFF")
    assert contents(dataset(new_run())) == whole
    assert packings == ["packed", "packed"]


def test_a_path_for_the_tiny_variant_is_refused_and_not_ignored(
    new_run: NewRun, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="the tiny variant brings its own data"):
        dataset(new_run(data_path=tmp_path))


def test_an_unpacked_librispeech_is_packed_once(
    new_run: NewRun, tree: Tree, packings: list[str]
) -> None:
    run = new_run("full", PACKED, data_path=tree.root)
    found = dataset(run)
    assert len(found) == PACKED
    assert dataset(new_run("full", PACKED, data_path=tree.root.parent)) == found
    assert packings == ["packed"]
    for entry in found.entries:
        assert not entry.path.is_relative_to(tree.root)


def test_a_tree_that_was_moved_is_not_packed_again_and_one_that_changed_is(
    new_run: NewRun, tree: Tree, packings: list[str]
) -> None:
    dataset(new_run("full", PACKED, data_path=tree.root))
    moved = tree.root.rename(tree.root.with_name("elsewhere"))
    dataset(new_run("full", PACKED, data_path=moved))
    assert packings == ["packed"]
    file = moved / "dev-other/8/300/8-300.trans.txt"
    file.write_text(file.read_text().replace("LONG", "SHORT"))
    changed = dataset(new_run("full", PACKED, data_path=moved))
    assert packings == ["packed", "packed"]
    assert any("short" in entry.transcript for entry in changed.entries)


def test_archives_give_the_same_samples_as_the_tree_and_are_not_needed_again(
    new_run: NewRun, tree: Tree, archives: Path
) -> None:
    expected = contents(dataset(new_run("full", PACKED, data_path=tree.root)))
    run = new_run("full", PACKED, data_path=archives)
    assert contents(dataset(run)) == expected
    for archive in archives.iterdir():
        archive.unlink()
    assert contents(dataset(new_run("full", PACKED))) == expected
    left = [path for path in run.scratch.preprocessed_data.rglob("*") if path.suffix == ".flac"]
    assert left == []


def test_archives_in_the_scratch_space_are_found_there(new_run: NewRun, archives: Path) -> None:
    run = new_run("full", PACKED)
    shutil.copytree(archives, run.scratch.data)
    assert len(dataset(run)) == PACKED


def test_a_wrong_archive_is_named_and_nothing_is_left(new_run: NewRun, archives: Path) -> None:
    path = archives / "dev-other.tar.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    run = new_run("full", PACKED, data_path=archives)
    with pytest.raises(IntegrityError, match=r"dev-other\.tar\.gz has sha256") as caught:
        dataset(run)
    assert caught.value.where == str(path)
    assert not list(run.scratch.preprocessed_data.glob("*whisper-dev*"))


def test_one_archive_without_the_other_is_named(new_run: NewRun, archives: Path) -> None:
    (archives / "dev-other.tar.gz").unlink()
    with pytest.raises(PrerequisiteError, match=r"dev-other\.tar\.gz is missing"):
        dataset(new_run("full", PACKED, data_path=archives))


def test_a_packed_folder_is_used_where_it_is(
    new_run: NewRun, tree: Tree, tmp_path: Path, packings: list[str]
) -> None:
    made = dataset(new_run("full", PACKED, data_path=tree.root))
    copy = shutil.copytree(made.path.parent, tmp_path / "prepared")
    found = dataset(new_run("full", PACKED, data_path=copy))
    assert found.path.parent == copy
    assert contents(found) == contents(made)
    assert packings == ["packed"]


def test_another_number_of_samples_than_the_rules_ask_for_is_refused_before_any_is_packed(
    new_run: NewRun, tree: Tree, packings: list[str]
) -> None:
    with pytest.raises(
        IntegrityError, match="the data set has 7 samples, and the rules ask for 1633"
    ) as caught:
        dataset(new_run("full", data_path=tree.root))
    assert caught.value.where == str(tree.root)
    assert packings == []


def test_a_packed_folder_of_another_number_of_samples_is_refused(
    new_run: NewRun, tree: Tree
) -> None:
    packed = dataset(new_run("full", PACKED, data_path=tree.root)).path.parent
    with pytest.raises(IntegrityError, match="has 7 samples, and the rules ask for 1633") as caught:
        dataset(new_run("full", data_path=packed))
    assert caught.value.where == str(packed)


def test_empty_folders_are_refused_and_nothing_is_kept_of_them(
    new_run: NewRun, tmp_path: Path
) -> None:
    for part in ("dev-clean", "dev-other"):
        (tmp_path / "empty" / part).mkdir(parents=True)
    run = new_run("full", data_path=tmp_path / "empty")
    with pytest.raises(IntegrityError, match="dev-clean holds no clips") as caught:
        dataset(run)
    assert caught.value.where == str(tmp_path / "empty" / "dev-clean")
    assert not list(run.scratch.preprocessed_data.glob("*whisper-dev*"))


def test_a_folder_of_something_else_says_what_was_looked_for(
    new_run: NewRun, tmp_path: Path
) -> None:
    with pytest.raises(PrerequisiteError, match=r"dev-all-repack\.json, dev-clean, .*tar\.gz"):
        dataset(new_run("full", data_path=tmp_path))
    with pytest.raises(PrerequisiteError, match="the folder of the data set is missing"):
        dataset(new_run("full", data_path=tmp_path / "nothing"))


@pytest.mark.parametrize(
    "content", [b"", b"fLaC", b"<html>"], ids=["empty", "cut off", "something else"]
)
def test_a_bad_clip_of_a_tree_is_named_and_nothing_half_packed_is_left(
    new_run: NewRun, tree: Tree, content: bytes
) -> None:
    tree.audio("8-300-0001").write_bytes(content)
    run = new_run("full", PACKED, data_path=tree.root)
    with pytest.raises(IntegrityError, match=r"8-300-0001\.flac") as caught:
        dataset(run)
    assert caught.value.where == str(tree.audio("8-300-0001"))
    assert not list(run.scratch.preprocessed_data.glob("*whisper-dev-all-repack-*"))


def test_a_transcript_without_audio_is_named_before_anything_is_packed(
    new_run: NewRun, tree: Tree, packings: list[str]
) -> None:
    tree.audio("8-300-0001").unlink()
    with pytest.raises(IntegrityError, match=r"8-300-0001\.flac is missing"):
        dataset(new_run("full", PACKED, data_path=tree.root))
    assert packings == []
