"""Reading clips: whole 16 kHz mono 16-bit audio, or an error that names the file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.clips import read_clip

if TYPE_CHECKING:
    from pathlib import Path

CLIP: npt.NDArray[np.int16] = (
    np.random.default_rng(0).integers(-30000, 30000, 9000).astype(np.int16)
)


def encoded(kind: str, samples: npt.NDArray[np.int16] = CLIP, rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype="PCM_16")
    return buffer.getvalue()


WAV, FLAC = encoded("WAV"), encoded("FLAC")


def written(folder: Path, content: bytes, name: str = "clip.wav") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "FLAC"])
def test_a_clip_is_read_to_the_bit(kind: str, tmp_path: Path) -> None:
    found = read_clip(written(tmp_path, encoded(kind)))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, CLIP)


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"clip\.wav is missing") as caught:
        read_clip(tmp_path / "clip.wav")
    assert not isinstance(caught.value, IntegrityError)
    assert caught.value.where == str(tmp_path / "clip.wav")
    assert caught.value.remedy


def test_a_folder_in_the_place_of_a_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").mkdir()
    with pytest.raises(PrerequisiteError, match=r"clip\.wav cannot be read \(Is a directory\)"):
        read_clip(tmp_path / "clip.wav")


_STEREO = encoded("WAV", np.stack([CLIP, CLIP], axis=1))
_WIDE = io.BytesIO()
soundfile.write(_WIDE, CLIP, 16000, format="FLAC", subtype="PCM_24")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (encoded("WAV", CLIP[:0]), "is empty: it holds no samples"),
        (encoded("FLAC", CLIP[:0]), "clip"),  # an encoder writes no frame, so no format either
        (b"<html>not found</html>", "is no WAV or FLAC that can be read"),
        (WAV[:-1], "is cut off: 17999 of 18000 bytes of samples are there"),
        (WAV[:44], "is cut off: 0 of 18000"),
        (WAV[:30], "is cut off: it ends before its samples"),
        (FLAC[: len(FLAC) // 2], "clip"),
        (_STEREO, "has 2 channels, and must be mono"),
        (encoded("WAV", rate=44100), "is sampled at 44100 Hz, and must be at 16000 Hz"),
        (encoded("FLAC", rate=8000), "is sampled at 8000 Hz"),
        (_WIDE.getvalue(), "holds PCM_24, and must hold 16-bit integers"),
        (encoded("AIFF"), "is AIFF, and only WAV and FLAC are read"),
        (FLAC[:26] + bytes([FLAC[26] ^ 1]) + FLAC[27:], "is damaged: .* MD5"),
    ],
)
def test_a_bad_clip_is_one_error_that_says_what_where_and_the_remedy(
    content: bytes, fault: str, tmp_path: Path
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(IntegrityError, match=fault) as caught:
        read_clip(path)
    assert caught.value.what.startswith("clip.wav ")
    assert caught.value.where == str(path)
    assert caught.value.remedy


def test_a_clip_longer_than_the_caller_allows_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, WAV)
    assert len(read_clip(path, longest=9000)) == 9000
    with pytest.raises(IntegrityError, match=r"lasts 0\.56 s, and may last 0\.5\d* s at most"):
        read_clip(path, longest=8999)


def test_a_wav_with_other_chunks_around_its_samples_is_read(tmp_path: Path) -> None:
    extra = b"LIST" + (5).to_bytes(4, "little") + b"hello\0"
    content = WAV[:36] + extra + WAV[36:] + extra
    content = content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:]
    np.testing.assert_array_equal(read_clip(written(tmp_path, content)), CLIP)


def test_a_flac_with_fewer_samples_than_it_says_is_refused(tmp_path: Path) -> None:
    total = (int.from_bytes(FLAC[18:26], "big") + 1).to_bytes(8, "big")
    path = written(tmp_path, FLAC[:18] + total + bytes(16) + FLAC[42:])
    with pytest.raises(IntegrityError, match=r"^clip\.wav "):
        read_clip(path)


def test_a_header_that_claims_years_is_refused_and_no_memory_asked_for(tmp_path: Path) -> None:
    total = (int.from_bytes(FLAC[18:26], "big") | (2**36 - 1)).to_bytes(8, "big")
    path = written(tmp_path, FLAC[:18] + total + FLAC[26:])
    with pytest.raises(IntegrityError, match="and may last 3600 s at most"):
        read_clip(path)


def test_a_flac_whose_encoder_knew_no_md5_is_read_whole_and_refused_cut_off(
    tmp_path: Path,
) -> None:
    content = FLAC[:26] + bytes(16) + FLAC[42:]
    np.testing.assert_array_equal(read_clip(written(tmp_path, content)), CLIP)
    for size in range(42, len(content), 997):
        with pytest.raises(IntegrityError, match=r"^clip\.wav "):
            read_clip(written(tmp_path, content[:size]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_off_clip_is_refused_wherever_it_ends(data: st.DataObject, tmp_path: Path) -> None:
    whole = data.draw(st.sampled_from([WAV, FLAC]))
    path = written(tmp_path, whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(IntegrityError, match=r"^clip\.wav "):
        read_clip(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(FLAC) - 1), change=st.integers(1, 255))
def test_a_damaged_flac_is_refused_or_its_samples_are_right_all_the_same(
    place: int, change: int, tmp_path: Path
) -> None:
    content = bytearray(FLAC)
    content[place] ^= change
    try:
        found = read_clip(written(tmp_path, bytes(content)))
    except IntegrityError:
        return
    np.testing.assert_array_equal(found, CLIP)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), place=st.integers(0, 60))
def test_random_bytes_are_refused_or_read_and_nothing_else_happens(
    content: bytes, place: int, tmp_path: Path
) -> None:
    for head in (WAV[:place], FLAC[:place]):
        try:
            found = read_clip(written(tmp_path, head + content))
        except IntegrityError:
            continue
        assert found.dtype == np.int16
        assert found.ndim == 1
