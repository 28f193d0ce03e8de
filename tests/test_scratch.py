"""The scratch space: where it is, what it makes, and what it says when it cannot."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlpinf_core
from mlpinf_core.errors import PrerequisiteError, UnknownNameError
from mlpinf_core.scratch import VARIABLE, Scratch, discard, readable, sizes_in

ROOT = str(Path(mlpinf_core.__file__).parents[1])


def test_the_variable_chooses_the_place(tmp_path: Path) -> None:
    environ = {VARIABLE: str(tmp_path), "XDG_CACHE_HOME": "/elsewhere", "HOME": "/home/u"}
    assert Scratch.from_environment(environ).root == tmp_path


def test_an_empty_variable_counts_as_none() -> None:
    environ = {VARIABLE: "", "XDG_CACHE_HOME": "", "HOME": "/home/u"}
    assert Scratch.from_environment(environ).root == Path("/home/u/.cache/mlpinf")


def test_the_users_cache_is_the_default() -> None:
    environ = {"XDG_CACHE_HOME": "/cache", "HOME": "/home/u"}
    assert Scratch.from_environment(environ).root == Path("/cache/mlpinf")


def test_a_relative_cache_home_is_ignored_as_its_specification_says() -> None:
    environ = {"XDG_CACHE_HOME": "cache", "HOME": "/home/u"}
    assert Scratch.from_environment(environ).root == Path("/home/u/.cache/mlpinf")


def test_a_tilde_in_the_variable_is_the_users_home() -> None:
    environ = {VARIABLE: "~/scratch", "HOME": "/home/u"}
    assert Scratch.from_environment(environ).root == Path("/home/u/scratch")


def test_an_unknown_home_is_said_with_the_variable() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        Scratch.from_environment({VARIABLE: "~nobody-has-this-name/x"})
    assert VARIABLE in (caught.value.remedy or "")


def test_the_process_environment_is_read_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "here"))
    assert Scratch.from_environment().root == tmp_path / "here"


def test_a_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Scratch(Path("here")).root == tmp_path / "here"


def test_making_one_and_asking_it_creates_nothing(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "not" / "there")
    assert scratch.free_bytes() > 0
    assert [p.name for p in (scratch.data, scratch.models)] == ["data", "models"]
    assert scratch.folder("engines") == scratch.engines
    assert scratch.folder("preprocessed_data") == scratch.preprocessed_data
    assert not (tmp_path / "not").exists()


def test_a_folder_that_it_does_not_have_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="engines"):
        Scratch(tmp_path).folder("engine")


def test_a_folder_is_created_once_it_is_needed(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "deep" / "down")
    assert scratch.ensure("models") == scratch.models
    assert scratch.ensure(scratch.models) == scratch.models
    assert scratch.models.is_dir()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "scratch"
    blocker.write_text("")
    with pytest.raises(PrerequisiteError, match=f"{blocker} is not a directory") as caught:
        Scratch(blocker).ensure("models")
    assert caught.value.where == str(blocker)
    assert VARIABLE in (caught.value.remedy or "")


def test_a_place_that_cannot_be_written_to_is_said_with_the_remedy(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    script = """
import os, sys
from pathlib import Path
from mlpinf_core.scratch import Scratch
from mlpinf_core.errors import PrerequisiteError
if os.geteuid() == 0:
    os.setuid(65534)  # the permissions of files do not hold root back
try:
    Scratch(Path(sys.argv[1])).ensure("models")
except PrerequisiteError as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", script, str(closed)],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "is not writable" in told
    assert str(closed) in told
    assert f"remedy: make it writable, or set {VARIABLE}" in told


def test_a_full_disk_is_said_with_what_is_free(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    told = r"no room to write .* free"
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PrerequisiteError, match=told) as caught, scratch.writing(tmp_path / "f"):
        raise full
    assert VARIABLE in (caught.value.remedy or "")


def test_a_lock_is_held_by_one_at_a_time_and_who_will_not_wait_is_told(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    path = tmp_path / "locks" / "one"
    with scratch.locked(path, lambda: None) as first, scratch.locked(path, None) as second:
        assert (first, second) == (True, False)
    with scratch.locked(path, None) as third:
        assert third


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (98_362_432, "98.4 MB"),
        (2.2e12, "2.2 TB"),
        (1500, "1.5 kB"),
    ],
)
def test_sizes_are_written_for_people(size: float, text: str) -> None:
    assert readable(size) == text


def test_files_are_counted_whatever_goes_away_meanwhile(tmp_path: Path) -> None:
    for name in ("top/here", "top/a/gone", "top/a/b/gone"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    assert sum(size for _, size in sizes_in(tmp_path)) == 12
    seen = []
    for path, _ in sizes_in(tmp_path):
        seen.append(path.name)
        discard(tmp_path / "top" / "a")  # which is known by now, and not yet looked into
    assert seen == ["here"]
    assert list(sizes_in(tmp_path / "nowhere")) == []
