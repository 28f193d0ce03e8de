"""The list of samples in the reference's format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.manifest import NAME, Entry, Manifest, write

if TYPE_CHECKING:
    from pathlib import Path


def listed(fname: str = "dev-all-repack/1-2_0.wav", samples: int = 16000) -> dict[str, Any]:
    """One sample as the reference writes it."""
    return {
        "transcript": "so it's said",
        "files": [
            {
                "channels": 1,
                "sample_rate": 16000.0,
                "bitdepth": 16,
                "bitrate": 256000.0,
                "duration": samples / 16000,
                "num_samples": samples,
                "encoding": "Signed Integer PCM",
                "silent": False,
                "fname": fname,
                "speed": 1,
            }
        ],
        "original_duration": samples / 16000,
        "original_num_samples": samples,
    }


def saved(folder: Path, content: Any) -> Path:
    path = folder / NAME
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_is_written_is_what_the_reference_writes_with_relative_names(tmp_path: Path) -> None:
    write(tmp_path, [Entry("so it's said", tmp_path / "dev-all-repack" / "1-2_0.wav", 16000)])
    text = (tmp_path / NAME).read_text(encoding="utf-8")
    assert text == json.dumps([listed()], indent=2) + "\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(st.text(), st.integers(1, 10**9)), min_size=1, max_size=20))
def test_what_is_written_is_read_again(said: list[tuple[str, int]], tmp_path: Path) -> None:
    entries = tuple(
        Entry(text, tmp_path / "dev-all-repack" / f"1-{number}_0.wav", samples)
        for number, (text, samples) in enumerate(said)
    )
    write(tmp_path, entries)
    found = Manifest.read(tmp_path / NAME)
    assert found.entries == entries
    assert len(found) == len(entries)


@pytest.mark.parametrize(
    "fname",
    [
        "dev-all-repack/1-2_0.wav",
        "/data/dev-all-repack/1-2_0.wav",
        "/home/someone/mlperf/data/dev-all-repack/1-2_0.wav",
        "data/dev-all-repack/1-2_0.wav",
        "./dev-all-repack/1-2_0.wav",
    ],
)
def test_the_names_of_a_folder_prepared_elsewhere_lead_to_the_files_beside_the_manifest(
    fname: str, tmp_path: Path
) -> None:
    there = tmp_path / "dev-all-repack" / "1-2_0.wav"
    there.parent.mkdir()
    there.touch()
    assert Manifest.read(saved(tmp_path, [listed(fname)])).entries[0].path == there


def test_samples_may_lie_directly_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "1-2_0.wav").touch()
    found = Manifest.read(saved(tmp_path, [listed("/data/dev-all-repack/1-2_0.wav")]))
    assert found.entries[0].path == tmp_path / "1-2_0.wav"


def test_an_absolute_name_counts_where_nothing_fits_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "here").mkdir()
    wav = tmp_path / "other" / "1-2_0.wav"
    wav.touch()
    assert Manifest.read(saved(tmp_path / "here", [listed(str(wav))])).entries[0].path == wav


def test_the_order_is_the_manifests(tmp_path: Path) -> None:
    names = ["b.wav", "a.wav", "c.wav"]
    found = Manifest.read(saved(tmp_path, [listed(name) for name in names]))
    assert [entry.path.name for entry in found.entries] == names


_GONE = object()


@pytest.mark.parametrize(
    ("keys", "value", "fault"),
    [
        ((1, "transcript"), _GONE, r"\[1\]\.transcript: missing"),
        ((1, "transcript"), 7, r"\[1\]\.transcript: 7 is not"),
        ((1, "files"), [], r"\[1\]\.files: \[\] is not"),
        ((0, "files", 0, "fname"), _GONE, r"\[0\]\.files\[0\]\.fname: missing"),
        ((0, "files", 0, "fname"), "", r"\[0\]\.files\[0\]\.fname: "),
        ((0, "files", 0, "fname"), "../up.wav", r"\[0\]\.files\[0\]: .*\.\./up\.wav leads upwards"),
        ((0, "files", 0, "num_samples"), 0, r"\[0\]\.files\[0\]\.num_samples: it is 0"),
        ((0, "files", 0, "num_samples"), 1.5, r"\[0\]\.files\[0\]\.num_samples: 1\.5 is not"),
        ((0, "files", 0, "num_samples"), True, r"\[0\]\.files\[0\]\.num_samples: True is not"),
        ((0, "files", 0, "channels"), 2, r"\[0\]\.files\[0\]\.channels: it is 2, and must be 1"),
        ((0, "files", 0, "sample_rate"), 44100, r"\[0\]\.files\[0\]\.sample_rate: it is 44100"),
        ((0, "files", 0, "speed"), 2, r"\[0\]\.files\[0\]\.speed: it is 2, and must be 1"),
        ((0, "files", 0, "duration"), 2.0, r"\[0\]\.files\[0\]: 16000 samples last 1\.0 s, not 2"),
        ((0, "files", 0, "dration"), 2.0, r"\[0\]\.files\[0\]\.dration: unknown key"),
        ((1, "original_duration"), "x", r"\[1\]\.original_duration: 'x' is not"),
        ((1,), ["x"], r"\[1\]: \['x'\] is not"),
    ],
)
def test_a_bad_value_is_named_by_its_path(
    keys: tuple[Any, ...], value: Any, fault: str, tmp_path: Path
) -> None:
    content: Any = [listed("a.wav"), listed("b.wav")]
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is _GONE:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path = saved(tmp_path, content)
    with pytest.raises(IntegrityError, match=fault) as caught:
        Manifest.read(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is not JSON"),
        (b"[", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'"\xff"', "it is not JSON"),
        (b"[]", "it lists no sample"),
        (b"{}", r"\{\} is not"),
        (b"null", "None is not"),
    ],
)
def test_what_is_no_manifest_is_refused_by_file(content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(IntegrityError, match=rf"{NAME} cannot be used: .*{fault}"):
        Manifest.read(tmp_path / NAME)


def test_a_file_that_is_listed_twice_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, [listed("a.wav"), listed("b.wav"), listed("a.wav")])
    with pytest.raises(IntegrityError, match=r"it lists one file 2 times, as a\.wav\n"):
        Manifest.read(path)


@pytest.mark.parametrize("other", ["./a.wav", "/data/a.wav", "data/a.wav", "link.wav"])
def test_two_names_of_one_file_are_told(other: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "link.wav").symlink_to("a.wav")
    path = saved(tmp_path, [listed("a.wav"), listed("b.wav"), listed(other)])
    with pytest.raises(IntegrityError, match=f"it lists one file 2 times, as a.wav and {other}"):
        Manifest.read(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"dev-all-repack\.json cannot be read \(No such"):
        Manifest.read(tmp_path / NAME)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_manifest_with_any_value_changed_is_read_or_refused_and_nothing_else_happens(
    data: st.DataObject, tmp_path: Path
) -> None:
    content = listed()
    value = data.draw(_JSON)
    place = data.draw(st.sampled_from([content, content["files"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    path = saved(tmp_path, [content])
    try:
        found = Manifest.read(path)
    except IntegrityError:
        return
    assert found.entries[0].samples == 16000
