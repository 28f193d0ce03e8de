"""Finding LibriSpeech's clips and transcripts, in folders and in archives."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.librispeech import extract, find_parts, scan

if TYPE_CHECKING:
    from conftest import Tree


def scanned(tree: Tree) -> list[str]:
    return [utterance.name for utterance in scan(find_parts(tree.root))]


def test_clips_are_found_with_their_words_in_the_order_of_their_names_as_text(tree: Tree) -> None:
    found = scan(find_parts(tree.root))
    chapters = list(dict.fromkeys(utterance.chapter for utterance in found))
    assert chapters == ["1272-128104", "174-50561", "8-300", "84-121123"]
    assert [one.name for one in found[:3]] == [
        "1272-128104-0000", "1272-128104-0001", "174-50561-0000",
    ]  # fmt: skip
    assert found[2].transcript == "clip 0 of 174-50561 isn't long"
    assert found[2].path == tree.audio("174-50561-0000")
    assert len(found) == len(tree.clips)


def test_the_order_is_not_the_file_systems(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scanned(tree)
    glob, rglob = Path.glob, Path.rglob

    def backwards(self: Path, *pattern: str, **options: Any) -> list[Path]:
        return sorted(glob(self, *pattern, **options), reverse=True)

    def all_backwards(self: Path, *pattern: str, **options: Any) -> list[Path]:
        return sorted(rglob(self, *pattern, **options), reverse=True)

    monkeypatch.setattr(Path, "glob", backwards)
    monkeypatch.setattr(Path, "rglob", all_backwards)
    assert scanned(tree) == expected


def test_the_order_of_the_lines_of_a_transcript_does_not_matter(tree: Tree) -> None:
    expected = scanned(tree)
    file = tree.transcripts("174-50561")
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    assert scanned(tree) == expected


def test_wav_does_as_well_as_flac(tree: Tree) -> None:
    expected = scanned(tree)
    for name in tree.clips:
        tree.audio(name).rename(tree.audio(name).with_suffix(".wav"))
    assert scanned(tree) == expected


def test_a_transcript_without_audio_names_both_files(tree: Tree) -> None:
    tree.audio("84-121123-0001").unlink()
    with pytest.raises(IntegrityError, match=r"84-121123-0001\.flac is missing") as caught:
        scanned(tree)
    assert caught.value.where == str(tree.transcripts("84-121123"))


def test_audio_without_a_transcript_is_named(tree: Tree) -> None:
    file = tree.transcripts("84-121123")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(IntegrityError, match=r"84-121123-0002\.flac has no transcript") as caught:
        scanned(tree)
    assert caught.value.where == str(tree.audio("84-121123-0002"))


def test_a_chapter_without_its_file_of_transcripts_is_named(tree: Tree) -> None:
    tree.transcripts("8-300").unlink()
    with pytest.raises(IntegrityError, match=r"8-300-0000\.flac has no transcript"):
        scanned(tree)


def test_a_chapter_without_any_audio_is_named(tree: Tree) -> None:
    for name in ("8-300-0000", "8-300-0001"):
        tree.audio(name).unlink()
    with pytest.raises(IntegrityError, match=r"8-300-0000\.flac is missing"):
        scanned(tree)


@pytest.mark.parametrize("emptied", [["dev-other"], ["dev-clean", "dev-other"]])
def test_a_part_without_any_clip_is_named(tree: Tree, emptied: list[str]) -> None:
    for part in emptied:
        shutil.rmtree(tree.root / part)
        (tree.root / part).mkdir()
    with pytest.raises(IntegrityError, match=f"folder {emptied[0]} holds no clips") as caught:
        scanned(tree)
    assert caught.value.where == str(tree.root / emptied[0])


def test_a_clip_that_both_parts_have_is_refused(tree: Tree) -> None:
    shutil.copytree(tree.root / "dev-clean/174", tree.root / "dev-other/174")
    with pytest.raises(IntegrityError, match=r"174-50561-0000 is there twice, also as .*dev-clean"):
        scanned(tree)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"8-300-0000", "line 1 of .* has no words for 8-300-0000"),
        (b"8-300-0000  \n", "line 1 of .* has no words"),
        (b"8-300-0000 A\n\n8-300-0001 B", "line 2 of .* does not begin with the name of a clip"),
        (b"8-300-0000 A\n8-300-0000 B", "line 2 of .* has a second transcript of 8-300-0000"),
        (b"84-121123-0000 A\n", "line 1 of .* does not begin with the name of a clip of 8-300"),
        (b"8-300-0000 \xff\xfe\n", "is not text in UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tree: Tree, line: bytes, fault: str) -> None:
    tree.transcripts("8-300").write_bytes(line)
    with pytest.raises(IntegrityError, match=fault) as caught:
        scanned(tree)
    assert caught.value.where == str(tree.transcripts("8-300"))
    assert "8-300.trans.txt" in caught.value.what


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=80), st.text(max_size=60).map(str.encode)))
def test_random_transcripts_are_refused_and_nothing_else_happens(
    content: bytes, tree: Tree
) -> None:
    whole = b"8-300-0000 A\n8-300-0001 B\n"
    tree.transcripts("8-300").write_bytes(whole + content)
    try:
        found = scanned(tree)
    except IntegrityError:
        return
    assert found == sorted(found, key=lambda name: (*name.split("-"),))
    assert len(found) == len(tree.clips)


def test_the_parts_are_found_in_every_place_that_a_user_may_name(tree: Tree) -> None:
    parts = [tree.root / "dev-clean", tree.root / "dev-other"]
    assert find_parts(tree.root) == find_parts(tree.root.parent) == parts
    merged = tree.root.parent / "dev-all"
    for part in parts:
        shutil.copytree(part, merged, dirs_exist_ok=True)
    assert find_parts(merged) == [merged]
    assert [one.name for one in scan([merged])] == scanned(tree)
    assert find_parts(tree.root / "dev-clean" / "174") == []


def test_one_part_without_the_other_is_refused_with_the_name_of_the_other(tree: Tree) -> None:
    shutil.rmtree(tree.root / "dev-other")
    with pytest.raises(PrerequisiteError, match="dev-other is missing beside dev-clean"):
        find_parts(tree.root.parent)


def archive(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_is_unpacked_as_it_was_packed(tree: Tree, tmp_path: Path) -> None:
    packed = tmp_path / "dev.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(tree.root, "LibriSpeech")
    extract(packed, tmp_path / "out")
    for original in sorted(tree.root.rglob("*.*")):
        copy = tmp_path / "out/LibriSpeech" / original.relative_to(tree.root)
        assert copy.read_bytes() == original.read_bytes()


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


INSIDE = "LibriSpeech/dev-clean/1/2/1-2-0000.flac"


@pytest.mark.parametrize(
    "hostile",
    [
        "../1-2-0000.flac",
        "/tmp/LibriSpeech/dev-clean/1/2/1-2-0000.flac",
        "LibriSpeech/dev-clean/../../../1-2-0000.flac",
        "LibriSpeech/dev-clean/1/../1-2-0000.flac",
        "LibriSpeech/dev-clean/1/2/run.sh",
        _special("LibriSpeech/dev-clean/1/2/1-2-0001.flac", tarfile.SYMTYPE, "/etc/passwd"),
        _special("LibriSpeech/dev-clean/1/2", tarfile.SYMTYPE, "/tmp"),
        _special("LibriSpeech/dev-clean/1/2/1-2-0001.flac", tarfile.LNKTYPE, "/etc/passwd"),
        _special("LibriSpeech/dev-clean/1/2/1-2-0001.flac", tarfile.FIFOTYPE),
    ],
)
def test_nothing_of_an_archive_is_written_but_librispeechs_own_plain_files(
    hostile: tarfile.TarInfo | str, tmp_path: Path
) -> None:
    packed = archive(tmp_path / "x.tar.gz", (hostile, b""), (INSIDE, b"clip"))
    extract(packed, tmp_path / "deep/out")
    written = [path for path in (tmp_path / "deep").rglob("*") if not path.is_dir()]
    assert written == [tmp_path / "deep/out" / INSIDE]
    assert written[0].read_bytes() == b"clip"
    assert not any(path.is_symlink() for path in (tmp_path / "deep").rglob("*"))


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    packed = archive(tmp_path / "x.tar.gz", ("readme.txt", b"hello"))
    with pytest.raises(IntegrityError, match=r"x\.tar\.gz holds none of LibriSpeech's files"):
        extract(packed, tmp_path / "out")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_off_archive_is_refused(data: st.DataObject, tmp_path: Path) -> None:
    packed = archive(tmp_path / "x.tar.gz", (INSIDE, bytes(range(256)) * 100))
    content = packed.read_bytes()
    packed.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(IntegrityError, match=r"x\.tar\.gz is damaged"):
        extract(packed, tmp_path / "out")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(IntegrityError, match=r"x\.tar\.gz is damaged"):
        extract(tmp_path / "x.tar.gz", tmp_path / "out")
