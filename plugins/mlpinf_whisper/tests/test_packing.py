"""Packing clips to samples of at most 30 s."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError
from mlpinf_whisper import librispeech
from mlpinf_whisper.clips import read_clip
from mlpinf_whisper.librispeech import Utterance
from mlpinf_whisper.manifest import NAME, Manifest
from mlpinf_whisper.packing import count, group, join, pack

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Tree

RATE = 16000
LIMIT, SILENCE = 30 * RATE, RATE // 2

#: Whole clips and such that meet the limit to the sample, alone or joined.
LENGTHS = st.lists(
    st.one_of(
        st.integers(1, 35 * RATE),
        st.integers(4 * RATE, 10 * RATE),  # three to six of these make a sample
        st.sampled_from([LIMIT, LIMIT + 1, LIMIT - SILENCE, 14 * RATE + 12000, RATE]),
    ),
    max_size=30,
)


@given(lengths=LENGTHS)
def test_every_clip_of_30_s_at_most_is_in_one_sample_in_its_order(lengths: list[int]) -> None:
    groups = group([length / RATE for length in lengths])
    flat = [member for members in groups for member in members]
    assert flat == [position for position, length in enumerate(lengths) if length <= LIMIT]


@given(lengths=LENGTHS)
def test_no_sample_is_longer_than_30_s(lengths: list[int]) -> None:
    for members in group([length / RATE for length in lengths]):
        assert sum(lengths[member] for member in members) + SILENCE * (len(members) - 1) <= LIMIT


@given(lengths=LENGTHS)
def test_a_sample_ends_only_where_the_next_clip_does_not_fit(lengths: list[int]) -> None:
    groups = group([length / RATE for length in lengths])
    for members, following in itertools.pairwise(groups):
        total = sum(lengths[member] + SILENCE for member in members)
        # At exactly 30 s, the reference's sum in floating point may come out a hair above.
        assert total + lengths[following[0]] >= LIMIT


def test_a_clip_over_30_s_is_left_out_and_parts_nothing() -> None:
    assert group([10, 30.01, 10]) == [[0, 2]]


def test_clips_that_make_exactly_30_s_are_one_sample() -> None:
    assert group([14.75, 14.75, 0.1]) == [[0, 1], [2]]


def test_every_silence_counts_towards_the_30_s() -> None:
    assert group([10, 9.5, 9.5]) == [[0, 1, 2]]
    assert group([10, 9.5, 9.75]) == [[0, 1], [2]]


def test_nothing_packs_to_nothing() -> None:
    assert group([]) == group([31.0]) == []


def test_half_a_second_of_silence_lies_between_clips_and_nowhere_else() -> None:
    clip = np.full(10, -7, dtype=np.int16)
    joined = join([clip, clip, clip])
    assert joined.dtype == np.int16
    assert np.flatnonzero(joined).tolist() == [
        *range(10), *range(8010, 8020), *range(16020, 16030)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_reference_way_through_floating_point_changes_no_value(
    kind: type[np.floating], tmp_path: Path
) -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", every, RATE, subtype="PCM_16")
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    soundfile.write(tmp_path / "b.wav", read.astype(kind), RATE)
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_samples_are_named_and_listed_as_the_reference_does(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    steps: list[tuple[int, int]] = []
    utterances = librispeech.scan(librispeech.find_parts(tree.root))
    pack(utterances, tmp_path / "out", lambda done, total: steps.append((done, total)))
    found = Manifest.read(tmp_path / "out" / NAME)
    assert [entry.path.name for entry in found.entries] == [
        "1272-128104_0.wav",
        "174-50561_0.wav", "174-50561_1.wav",
        "8-300_0.wav", "8-300_1.wav",
        "84-121123_0.wav", "84-121123_1.wav",
    ]  # fmt: skip
    assert [entry.samples / RATE for entry in found.entries] == [4, 21.75, 19.5, 30, 0.5, 30, 1]
    assert found.entries[0].transcript == "clip 1 of 1272-128104 isn't long"
    assert found.entries[5].transcript == (
        "clip 0 of 84-121123 isn't long clip 1 of 84-121123 isn't long"
    )
    first, second = tree.clips["174-50561-0000"], tree.clips["174-50561-0001"]
    np.testing.assert_array_equal(read_clip(found.entries[1].path), join([first, second]))
    for entry in found.entries:
        info = soundfile.info(entry.path)
        assert (info.frames, info.samplerate, info.channels) == (entry.samples, RATE, 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
    assert steps == [(2, 11), (6, 11), (8, 11), (11, 11)]
    assert count(utterances) == len(found)


def test_a_bad_clip_ends_the_packing_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    (tmp_path / "out").mkdir()
    with pytest.raises(IntegrityError, match=r"a\.flac"):
        pack([Utterance("1-2-0000", tmp_path / "a.flac", "a")], tmp_path / "out")
    with pytest.raises(IntegrityError, match=r"a\.flac"):
        count([Utterance("1-2-0000", tmp_path / "a.flac", "a")])
    assert not (tmp_path / "out" / NAME).exists()
