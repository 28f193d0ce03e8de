"""Clips as the backends take them, every one checked first."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.protocols import Samples
from mlpinf_whisper.clips import read_clip
from mlpinf_whisper.data import dataset
from mlpinf_whisper.manifest import NAME, Entry, Manifest, write
from mlpinf_whisper.samples import AudioSamples, preprocessed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.context import Run

    NewRun = Callable[..., Run]

LENGTHS = [16000, 480_000, 1, 12_345]


@pytest.fixture
def prepared(tmp_path: Path) -> Manifest:
    """Four clips with their manifest."""
    folder = tmp_path / "prepared"
    (folder / "dev-all-repack").mkdir(parents=True)
    random = np.random.default_rng(0)
    entries = []
    for number, length in enumerate(LENGTHS):
        path = folder / "dev-all-repack" / f"1-{number}_0.wav"
        clip = random.integers(-9000, 9000, length).astype(np.int16)
        soundfile.write(path, clip, 16000, subtype="PCM_16")
        entries.append(Entry(f"clip {number}", path, length))
    write(folder, entries)
    return Manifest.read(folder / NAME)


def kept(run: Run) -> list[Path]:
    """What was made of waveforms, whole or in part."""
    return list(run.scratch.preprocessed_data.glob("*whisper-waveforms-*"))


def test_every_clip_is_there_to_the_bit_in_the_manifests_order(
    new_run: NewRun, prepared: Manifest
) -> None:
    samples = preprocessed(new_run(), prepared)
    assert isinstance(samples, Samples)
    assert len(samples) == len(LENGTHS)
    assert samples.lengths.tolist() == LENGTHS
    assert (samples.audio.dtype, samples.lengths.dtype) == (np.int16, np.int64)
    assert samples.offsets.tolist() == [0, *np.cumsum(LENGTHS)]
    for index, entry in enumerate(prepared.entries):
        np.testing.assert_array_equal(samples.waveform(index), read_clip(entry.path))
        assert np.shares_memory(samples.waveform(index), samples.audio)
    assert samples.references == ["clip 0", "clip 1", "clip 2", "clip 3"]


def test_the_samples_of_the_tiny_variant_are_its_data_sets(new_run: NewRun) -> None:
    run = new_run()
    manifest = dataset(run)
    samples = preprocessed(run, manifest)
    for index, entry in enumerate(manifest.entries):
        np.testing.assert_array_equal(samples.waveform(index), read_clip(entry.path))


def test_samples_are_mapped_and_cannot_be_written_to(new_run: NewRun, prepared: Manifest) -> None:
    samples = preprocessed(new_run(), prepared)
    assert isinstance(samples.audio, np.memmap)
    samples.load(np.array([3, 0, 3]))
    samples.unload(np.array([3, 0, 3]))
    with pytest.raises(ValueError, match="read-only"):
        samples.waveform(0)[0] = 1


def test_clips_are_checked_and_copied_once(
    new_run: NewRun, prepared: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = preprocessed(new_run(), prepared)
    monkeypatch.setattr("mlpinf_whisper.samples.write", None)  # calling it would raise
    second = preprocessed(new_run(), prepared)
    np.testing.assert_array_equal(second.audio, first.audio)


def test_a_clip_that_changed_is_read_again(new_run: NewRun, prepared: Manifest) -> None:
    run = new_run()
    preprocessed(run, prepared)
    clip = np.arange(LENGTHS[3]).astype(np.int16)
    soundfile.write(prepared.entries[3].path, clip, 16000, subtype="PCM_16")
    np.testing.assert_array_equal(preprocessed(run, prepared).waveform(3), clip)


def test_a_transcript_that_changed_is_the_reference_of_the_next_run(
    new_run: NewRun, prepared: Manifest
) -> None:
    run = new_run()
    preprocessed(run, prepared)
    prepared.path.write_text(prepared.path.read_text().replace("clip 2", "other words"))
    samples = preprocessed(run, Manifest.read(prepared.path))
    assert samples.references[2] == "other words"


def _wav(path: Path, samples: Any, rate: int = 16000, subtype: str = "PCM_16") -> None:
    soundfile.write(path, samples, rate, subtype=subtype)


CLIP = np.arange(12_345).astype(np.int16)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is cut off"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: _wav(path, CLIP[:0]), "is empty"),
        (lambda path: path.write_bytes(b"not audio at all"), "is no WAV or FLAC"),
        (lambda path: _wav(path, np.stack([CLIP, CLIP], axis=1)), "has 2 channels"),
        (lambda path: _wav(path, CLIP, rate=44100), "is sampled at 44100 Hz"),
        (lambda path: _wav(path, CLIP, subtype="FLOAT"), "holds FLOAT"),
        (lambda path: _wav(path, np.zeros(480_001, np.int16)), r"lasts 30\.00 s, and may last 30"),
        (lambda path: _wav(path, CLIP[:-1]), "has 12344 samples, and the manifest says 12345"),
    ],
)
def test_a_bad_clip_is_one_error_that_names_it_and_nothing_is_left(
    spoil: Callable[[Path], object], fault: str, new_run: NewRun, prepared: Manifest
) -> None:
    path = prepared.entries[3].path
    spoil(path)
    run = new_run()
    with pytest.raises(IntegrityError, match=rf"^1-3_0\.wav {fault}") as caught:
        preprocessed(run, prepared)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    assert kept(run) == []


def test_a_missing_clip_is_named(new_run: NewRun, prepared: Manifest) -> None:
    prepared.entries[2].path.unlink()
    run = new_run()
    with pytest.raises(PrerequisiteError, match=r"1-2_0\.wav is missing") as caught:
        preprocessed(run, prepared)
    assert caught.value.where == str(prepared.entries[2].path)
    assert kept(run) == []


def test_a_clip_over_30_s_in_the_manifest_is_refused_and_not_skipped(
    new_run: NewRun, prepared: Manifest
) -> None:
    path = prepared.entries[3].path
    _wav(path, np.zeros(480_001, np.int16))
    listed = json.loads(prepared.path.read_text())
    listed[3]["files"][0] |= {"num_samples": 480_001, "duration": 480_001 / 16000}
    prepared.path.write_text(json.dumps(listed))
    with pytest.raises(IntegrityError, match=r"1-3_0\.wav lasts"):
        preprocessed(new_run(), Manifest.read(prepared.path))


FILL = """
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.events import EventWriter
from mlpinf_core.scratch import Scratch
from mlpinf_whisper.manifest import Manifest
from mlpinf_whisper.samples import preprocessed

root, manifest = map(Path, sys.argv[1:])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(root)], check=True)
scratch = Scratch(root)
run = SimpleNamespace(scratch=scratch, store=ArtifactStore(scratch), events=EventWriter())
try:
    preprocessed(run, Manifest.read(manifest))
except PrerequisiteError as error:
    print(error.what)
print(sorted(path.name for path in scratch.preprocessed_data.glob("*whisper-waveforms-*")))
"""
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


def can_mount() -> bool:
    if shutil.which(OWN_MOUNTS[0]) is None:
        return False
    mount = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/tmp"]
    return subprocess.run(mount, capture_output=True).returncode == 0


def test_a_disk_that_fills_up_is_one_error_and_nothing_is_left(
    prepared: Manifest, tmp_path: Path
) -> None:
    if not can_mount():
        pytest.skip("mounting a small disk is not permitted here")
    root = tmp_path / "small"
    root.mkdir()
    told = subprocess.run(
        [*OWN_MOUNTS, sys.executable, "-c", FILL, str(root), str(prepared.path)],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    what, left = told.stdout.splitlines()
    assert what.startswith("there is no room to write ")
    assert left == "[]"


def test_progress_is_told(
    new_run: NewRun, prepared: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, ...]] = []
    run = new_run()
    monkeypatch.setattr(run.events, "step", lambda *step: told.append(step))
    assert isinstance(preprocessed(run, prepared), AudioSamples)
    assert told[-1] == ("checking clips", 4, 4)
