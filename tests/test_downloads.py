"""Sources that are there, given, gated, wrong or out of reach; without any network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import mlpinf_core
from mlpinf_core.benchmark import Source
from mlpinf_core.downloads import SourceState, fetch, status
from mlpinf_core.downloads.ways import Progress
from mlpinf_core.errors import IntegrityError, PrerequisiteError, UnknownNameError
from mlpinf_core.scratch import Scratch

CONTENT = b"the right file"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WRONG = CONTENT[::-1]


def source(**more: Any) -> Source:
    given = {"name": "sub/file.bin", "kind": "data", "licence": "MIT", **more}
    return Source(size=len(CONTENT), sha256=SHA256, **given)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch")


@pytest.fixture
def there(scratch: Scratch) -> Path:
    path = scratch.data / "sub" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


def test_a_right_file_in_its_place_needs_no_way(scratch: Scratch, there: Path) -> None:
    assert fetch(source(), scratch, offline=True) == there
    assert fetch(source(gated="accept the terms"), scratch) == there
    told = status(source(), scratch)
    assert (told.state, told.path, told.present, told.why) == (
        SourceState.OK,
        there,
        len(CONTENT),
        None,
    )


def test_it_is_hashed_once_while_it_stays_the_same(
    scratch: Scratch, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status(source(), scratch)
    hashed: list[Path] = []

    def note(path: Path) -> str:
        hashed.append(path)
        return "something else"

    monkeypatch.setattr("mlpinf_core.hashing.sha256_of", note)
    assert fetch(source(), scratch) == there
    assert hashed == []
    os.utime(there)
    assert status(source(), scratch).state is SourceState.WRONG
    assert hashed == [there]


def test_asking_about_a_missing_file_creates_nothing(scratch: Scratch) -> None:
    told = status(source(), scratch)
    assert (told.state, told.why) == (SourceState.MISSING, "is missing")
    assert not scratch.root.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [(WRONG, f"instead of {SHA256}"), (CONTENT[:5], "has 5 bytes instead of 14")],
)
def test_a_wrong_file_in_its_place_is_told_with_what_is_wrong(
    scratch: Scratch, there: Path, content: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    there.write_bytes(content)
    told = status(source(), scratch)
    assert told.state is SourceState.WRONG
    assert why in str(told.why)
    for offline in (True, False):
        with pytest.raises(IntegrityError, match=why):
            fetch(source(), scratch, offline=offline)
    assert "fetching it again" in caplog.text
    assert there.read_bytes() == content


def test_a_file_that_the_user_gives_is_used_where_it_is(scratch: Scratch, tmp_path: Path) -> None:
    local = tmp_path / "mine.bin"
    local.write_bytes(CONTENT)
    assert fetch(source(gated="accept the terms"), scratch, local=local) == local
    assert status(source(), scratch, local=local).state is SourceState.OK
    assert not (scratch.data / "sub" / "file.bin").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [(WRONG, f"has sha256 .* instead of {SHA256}"), (CONTENT[:5], "has 5 bytes instead of 14")],
)
def test_a_wrong_file_that_the_user_gives_is_an_error_even_when_the_right_one_is_there(
    scratch: Scratch, there: Path, tmp_path: Path, content: bytes, why: str
) -> None:
    local = tmp_path / "mine.bin"
    local.write_bytes(content)
    with pytest.raises(IntegrityError, match=why) as caught:
        fetch(source(), scratch, local=local)
    assert caught.value.where == str(local)
    assert status(source(), scratch, local=local).state is SourceState.WRONG
    assert local.read_bytes() == content


def test_a_given_path_without_a_file_is_an_error(scratch: Scratch, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="is missing"):
        fetch(source(), scratch, local=tmp_path / "nowhere")
    assert status(source(), scratch, local=tmp_path / "nowhere").state is SourceState.MISSING


def test_a_gated_file_says_what_to_accept_and_where_to_put_it(scratch: Scratch) -> None:
    gated = source(gated="accept the terms at https://example.org/terms")
    with pytest.raises(PrerequisiteError, match=r"accept the terms at https://example\.org") as got:
        fetch(gated, scratch, remedy="set data.path to where it is")
    target = scratch.data / "sub" / "file.bin"
    assert got.value.remedy == f"put it at {target}, or set data.path to where it is"


def test_a_gated_file_put_there_wrong_is_told_with_what_is_wrong(
    scratch: Scratch, there: Path
) -> None:
    there.write_bytes(WRONG)
    with pytest.raises(IntegrityError, match=f"instead of {SHA256}"):
        fetch(source(gated="accept the terms"), scratch)
    assert there.read_bytes() == WRONG


@pytest.mark.parametrize("inside", ["file.bin", "name.uri/file.bin"])
def test_a_folder_that_the_user_gives_is_looked_into(
    inside: str, scratch: Scratch, tmp_path: Path
) -> None:
    given = tmp_path / "downloads"
    (given / inside).parent.mkdir(parents=True)
    (given / inside).write_bytes(CONTENT)
    assert fetch(source(), scratch, local=given) == given / inside
    assert status(source(), scratch, local=given).state is SourceState.OK


def test_a_given_folder_without_the_file_says_which_file_is_missing(
    scratch: Scratch, tmp_path: Path
) -> None:
    with pytest.raises(PrerequisiteError, match="is missing") as caught:
        fetch(source(), scratch, local=tmp_path)
    assert caught.value.where == str(tmp_path / "file.bin")


def test_a_file_whose_checksum_nobody_publishes_need_only_be_there(
    scratch: Scratch, tmp_path: Path
) -> None:
    by_hand = attrs.evolve(
        source(gated="accept it"), size=10**9, size_is_estimate=True, sha256=None
    )
    (tmp_path / "file.bin").write_bytes(b"anything")
    assert fetch(by_hand, scratch, local=tmp_path / "file.bin").name == "file.bin"
    with pytest.raises(PrerequisiteError, match="accept it"):
        fetch(by_hand, scratch)


def test_offline_names_the_ways_that_were_not_tried(scratch: Scratch) -> None:
    both = source(wheel=("tiny==1.0", "a"), url="http://127.0.0.1:9/")
    with pytest.raises(PrerequisiteError) as caught:
        fetch(both, scratch, offline=True)
    _, wheel, web = caught.value.what.splitlines()
    assert wheel.strip().startswith("wheel tiny==1.0: not tried")
    assert web.strip().startswith("http://127.0.0.1:9/: not tried")
    assert not scratch.root.exists()


def test_a_source_without_any_way_says_so(scratch: Scratch) -> None:
    with pytest.raises(PrerequisiteError, match="nothing says where it could be fetched from"):
        fetch(source(), scratch)


@pytest.mark.parametrize("name", ["", "../up.bin", "/etc/hostname", "a/../../b"])
def test_a_name_that_leads_out_of_its_folder_is_refused(scratch: Scratch, name: str) -> None:
    with pytest.raises(ValueError, match="would leave its folder"):
        fetch(source(name=name), scratch)


def test_a_kind_that_is_no_folder_is_refused(scratch: Scratch) -> None:
    with pytest.raises(UnknownNameError, match="models"):
        status(source(kind="model"), scratch)


def test_a_directory_in_the_files_place_is_told(scratch: Scratch) -> None:
    (scratch.data / "sub" / "file.bin").mkdir(parents=True)
    assert status(source(), scratch).why == "is not a file"


def test_progress_is_told_ten_times_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(i / 1000 for i in range(10_000))  # a thousand steps a second, for one second
    monkeypatch.setattr("mlpinf_core.downloads.ways.time.monotonic", lambda: next(clock))
    told: list[int] = []
    progress = Progress(lambda done, total: told.append(done), 1000)
    for done in range(1001):
        progress(done)
    assert 5 <= len(told) <= 12
    assert (told[0], told[-1]) == (0, 1000)


def test_importing_loads_nothing_heavy() -> None:
    script = (
        "import sys; before = set(sys.modules);"
        "import mlpinf_core.downloads, mlpinf_core.artifacts;"
        "heavy = {'urllib.request', 'http.client', 'ssl', 'filelock', 'zipfile', 'hashlib',"
        " 'numpy', 'subprocess'}; print(sorted(heavy & (set(sys.modules) - before)))"
    )
    root = str(Path(mlpinf_core.__file__).parents[1])
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "[]"
