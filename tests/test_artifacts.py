"""Artifacts: made once, found when sound, made again when not, never half there."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlpinf_core
from mlpinf_core.artifacts import Artifact, ArtifactStore
from mlpinf_core.errors import IntegrityError, PrerequisiteError, UnknownNameError
from mlpinf_core.hashing import JSON, HashMemory, digest, sha256_of
from mlpinf_core.manifest import HASHES_NAME, Manifest, differences, summary
from mlpinf_core.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = str(Path(mlpinf_core.__file__).parents[1])
INPUTS: dict[str, JSON] = {"source": "abc", "quantization": "int8", "tools": {"converter": "4.5.0"}}


def make(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"weights" * 1000)
    (folder / "sub").mkdir()
    (folder / "sub" / "vocabulary.json").write_text("[]")


def refuse(folder: Path) -> None:
    raise AssertionError("it must not be built again")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(Scratch(tmp_path / "scratch"))


@pytest.fixture
def built(store: ArtifactStore) -> Artifact:
    return store.build("engines", "smol", INPUTS, make)


def left_in(store: ArtifactStore) -> list[str]:
    return sorted(p.name for p in store.scratch.engines.iterdir() if p.name != ".locks")


# ---- the key

texts = st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
tables = st.dictionaries(texts, values, max_size=5)


def identical(one: Any, other: Any) -> bool:
    """Unlike ==, tells 1 from 1.0 from True, and 0.0 from -0.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(tables)
def test_the_order_of_keys_does_not_change_the_key(table: dict[str, Any]) -> None:
    assert digest(shuffled(table)) == digest(table)


@given(tables, texts, values, values)
def test_any_change_of_a_value_changes_the_key(
    table: dict[str, Any], key: str, one: Any, other: Any
) -> None:
    assert (digest({**table, key: one}) == digest({**table, key: other})) == identical(one, other)


@given(tables, tables)
def test_inputs_that_are_told_apart_have_different_keys(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    if differences(old, new):
        assert digest(old) != digest(new)


@given(tables)
def test_inputs_come_back_from_the_manifest_with_the_same_key(table: dict[str, Any]) -> None:
    again = json.loads(Manifest("a", digest(table), table, (), "now").to_json())
    assert digest(again["inputs"]) == again["key"]


@pytest.mark.parametrize(
    ("value", "error"),
    [({1: "a"}, TypeError), ([object()], TypeError), (b"a", TypeError), (float("nan"), ValueError)],
)
def test_inputs_that_have_no_one_spelling_are_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        digest({"a": value})


# ---- building and finding


def test_what_is_built_is_described_file_by_file(store: ArtifactStore, built: Artifact) -> None:
    assert built.built
    assert built.path == store.scratch.engines / f"smol-{digest(INPUTS)[:16]}"
    assert [f.path for f in built.manifest.files] == ["model.bin", "sub/vocabulary.json"]
    assert [f.size for f in built.manifest.files] == [7000, 2]
    assert built.manifest.files[0].sha256 == sha256_of(built.path / "model.bin")
    assert built.manifest.inputs == INPUTS
    assert Manifest.read(built.path) == built.manifest
    assert left_in(store) == [built.path.name]


def test_what_is_built_is_found_and_not_built_again(store: ArtifactStore, built: Artifact) -> None:
    told: list[str] = []
    again = store.build("engines", "smol", INPUTS, refuse, announce=told.append)
    assert (again.path, again.built, told) == (built.path, False, [])
    found = store.find("engines", "smol", INPUTS)
    assert found is not None
    assert found.manifest == built.manifest
    assert store.why_not("engines", "smol", INPUTS) is None


def test_finding_creates_nothing(store: ArtifactStore) -> None:
    assert store.find("engines", "smol", INPUTS) is None
    assert store.why_not("engines", "smol", INPUTS) == "nothing of that name has been built yet"
    assert not store.scratch.root.exists()


def test_another_folder_or_name_is_another_artifact(store: ArtifactStore, built: Artifact) -> None:
    assert store.find("preprocessed_data", "smol", INPUTS) is None
    assert store.find("engines", "smol-2", INPUTS) is None


def test_other_inputs_leave_the_old_artifact_alone(store: ArtifactStore, built: Artifact) -> None:
    other = store.build("engines", "smol", {**INPUTS, "quantization": "int8_float32"}, make)
    assert other.built
    assert other.path != built.path
    assert store.find("engines", "smol", INPUTS) is not None


def test_the_reason_of_a_build_is_the_input_that_changed(
    store: ArtifactStore, built: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[str] = []
    changed = {**INPUTS, "quantization": "int8_float32"}
    store.build("engines", "smol", changed, make, announce=told.append)
    assert told == [
        f"building smol-{digest(changed)[:16]}: quantization changed from int8 to int8_float32"
    ]
    assert told[0] in caplog.text


def test_the_reason_is_told_from_the_nearest_artifact(
    store: ArtifactStore, built: Artifact
) -> None:
    store.build("engines", "smol", {"source": "abc", "quantization": "x", "tools": {}}, make)
    why = store.why_not("engines", "smol", {**INPUTS, "tools": {"converter": "4.6.0"}})
    assert why == "tools.converter changed from 4.5.0 to 4.6.0"


def test_new_and_gone_inputs_are_told_apart_and_many_are_counted() -> None:
    told = differences({"a": 1, "b": 2, "c": 3, "d": {}}, {"a": 1.0, "c": True, "d": {"e": []}})
    assert told == (
        "a changed from 1 to 1.0",
        "b is gone (was 2)",
        "c changed from 3 to true",
        "d is gone (was {})",
        "d.e is new ([])",
    )
    assert summary(told).endswith("b is gone (was 2); c changed from 3 to true; and 2 more")


def test_one_artifact_may_be_built_while_another_is(store: ArtifactStore) -> None:
    def outer(folder: Path) -> None:
        inner = store.build("engines", "inner", INPUTS, make)
        (folder / "from").write_text(inner.key)

    assert store.build("engines", "outer", INPUTS, outer).built
    assert len(left_in(store)) == 2


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_that_is_no_plain_file_name_is_refused(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be named"):
        store.find("engines", name, INPUTS)


def test_a_folder_that_the_scratch_space_does_not_have_is_refused(store: ArtifactStore) -> None:
    with pytest.raises(UnknownNameError):
        store.build("engine", "smol", INPUTS, make)


# ---- failing


def test_a_failed_build_leaves_nothing_and_its_own_exception(store: ArtifactStore) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise RuntimeError("the converter's own words")

    with pytest.raises(RuntimeError, match="the converter's own words"):
        store.build("engines", "smol", INPUTS, fail)
    assert left_in(store) == []
    assert store.build("engines", "smol", INPUTS, make).built


def test_an_interrupted_build_leaves_nothing(store: ArtifactStore) -> None:
    def interrupt(folder: Path) -> None:
        make(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.build("engines", "smol", INPUTS, interrupt)
    assert left_in(store) == []


def test_a_refusal_of_somebody_elses_file_is_not_blamed_on_the_store(store: ArtifactStore) -> None:
    def fail(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", "/the/source")

    with pytest.raises(PermissionError):
        store.build("engines", "smol", INPUTS, fail)


def nothing(folder: Path) -> None:
    pass


def link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")


def own_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (nothing, "it holds no file"),
        (link, "link is neither a plain file"),
        (own_manifest, "belongs to"),
    ],
)
def test_what_cannot_be_verified_later_is_refused(
    store: ArtifactStore, bad: Any, words: str
) -> None:
    with pytest.raises(IntegrityError, match=words):
        store.build("engines", "smol", INPUTS, bad)
    assert left_in(store) == []


def tampered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(content)


def tampered_with_its_time_set_back(path: Path) -> None:
    before = path.stat()
    tampered(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncated(path: Path) -> None:
    os.truncate(path, 6999)


def removed(path: Path) -> None:
    path.unlink()


def made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without_a_manifest(path: Path) -> None:
    (path.parent / "manifest.json").unlink()


def with_half_a_manifest(path: Path) -> None:
    os.truncate(path.parent / "manifest.json", 100)


def with_other_inputs(path: Path) -> None:
    manifest = path.parent / "manifest.json"
    manifest.write_text(manifest.read_text().replace("int8", "int4"))


def with_a_manifest_that_is_a_list(path: Path) -> None:
    (path.parent / "manifest.json").write_text("[]")


DAMAGES = [
    (tampered, "model.bin has sha256 [0-9a-f]{64} instead of [0-9a-f]{64}"),
    (tampered_with_its_time_set_back, "model.bin has sha256"),
    (truncated, "model.bin has 6999 bytes instead of 7000"),
    (removed, "model.bin is missing"),
    (made_a_directory, "model.bin is not a file"),
    (without_a_manifest, "manifest.json cannot be used: No such file"),
    (with_half_a_manifest, "manifest.json cannot be used"),
    (with_other_inputs, "its inputs do not belong to its key"),
    (with_a_manifest_that_is_a_list, "manifest.json cannot be used: it is malformed"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_artifact_is_built_again_with_a_warning_that_says_what_was_wrong(
    store: ArtifactStore,
    built: Artifact,
    damage: Any,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(built.path / "model.bin")
    assert store.find("engines", "smol", INPUTS) is None
    assert "damaged" in str(store.why_not("engines", "smol", INPUTS))
    again = store.build("engines", "smol", INPUTS, make)
    assert again.built
    assert store.find("engines", "smol", INPUTS) is not None
    [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "it is damaged" in record.getMessage()
    assert re.search(words, record.getMessage())
    assert left_in(store) == [again.path.name]


def test_a_file_under_the_artifacts_name_is_replaced(store: ArtifactStore) -> None:
    store.scratch.engines.mkdir(parents=True)
    (store.scratch.engines / f"smol-{digest(INPUTS)[:16]}").write_text("")
    assert store.build("engines", "smol", INPUTS, make).built


def test_a_file_is_hashed_once_while_it_stays_the_same(
    store: ArtifactStore, built: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_to_hash(path: Path) -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr("mlpinf_core.hashing.sha256_of", refuse_to_hash)
    assert store.find("engines", "smol", INPUTS) is not None
    os.utime(built.path / "model.bin")
    with pytest.raises(AssertionError, match=r"model\.bin was hashed again"):
        store.find("engines", "smol", INPUTS)


def test_full_verification_hashes_whatever_is_remembered(
    store: ArtifactStore, built: Artifact
) -> None:
    assert store.verify(built) is None
    path = built.path / "model.bin"
    tampered(path)
    # As a failing disk would: the memory says that nothing has changed.
    HashMemory(built.path / HASHES_NAME).remember(path, built.manifest.files[0].sha256)
    assert store.verify(built, full=False) is None
    assert "sha256" in str(store.verify(built))


def test_verifying_an_artifact_that_was_removed_says_so(
    store: ArtifactStore, built: Artifact
) -> None:
    built.path.rename(built.path.with_name("elsewhere"))
    assert store.verify(built) == "it is missing"


def test_a_damaged_memory_of_hashes_only_costs_the_hashing(
    store: ArtifactStore, built: Artifact
) -> None:
    for content in ("", "[]", '{"model.bin": 3}', '{"model.bin": {"identity": 1, "sha256": 2}}'):
        (built.path / HASHES_NAME).write_text(content)
        assert store.find("engines", "smol", INPUTS) is not None


def test_a_file_that_the_manifest_does_not_list_is_let_be(
    store: ArtifactStore, built: Artifact
) -> None:
    (built.path / "cache").write_text("a backend's own")
    assert store.find("engines", "smol", INPUTS) is not None


# ---- more than one process

CHILD = """
import hashlib, os, resource, sys
import filelock  # and hashlib: not every user may read where Python is installed
from pathlib import Path
from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.scratch import Scratch

what, root = sys.argv[1], Path(sys.argv[2])
inputs = {"source": "abc", "quantization": "int8", "tools": {"converter": "4.5.0"}}

def say(text):
    print(text, flush=True)

def make(folder):
    if what == "big":
        for i in range(64):
            (folder / f"{i}.bin").write_bytes(bytes(1 << 18))
        return
    with (root / "count").open("a") as file:
        file.write("built\\n")
    (folder / "model.bin").write_bytes(b"half")
    if what == "wait":
        say("making")
        sys.stdin.readline()

if what == "limited":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14))
    make = lambda folder: (folder / "model.bin").write_bytes(bytes(1 << 20))
if what == "nobody" and os.geteuid() == 0:
    os.setuid(65534)
try:
    artifact = ArtifactStore(Scratch(root)).build("engines", "smol", inputs, make, announce=say)
    say(f"built={artifact.built}")
except PrerequisiteError as error:
    say(str(error))
"""


def child(what: str, root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, what, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )


def lines_until(process: subprocess.Popen[str], start: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(start):
            return lines
    raise AssertionError(f"the child ended without saying {start!r}: {lines}")


def test_two_processes_at_once_build_once(store: ArtifactStore) -> None:
    root = store.scratch.root
    root.mkdir()
    with child("wait", root) as first:
        lines_until(first, "making")
        with child("go", root) as second:
            assert len(lines_until(second, "waiting for another process")) == 1
            out, _ = first.communicate("\n", timeout=60)
            assert "built=True" in out
            assert lines_until(second, "built=") == ["built=False"]
    assert (root / "count").read_text() == "built\n"


def test_a_build_that_was_killed_leaves_nothing_that_looks_done(store: ArtifactStore) -> None:
    root = store.scratch.root
    root.mkdir()
    with child("wait", root) as process:
        lines_until(process, "making")
        process.send_signal(signal.SIGKILL)
    assert len(left_in(store)) == 1
    assert store.find("engines", "smol", INPUTS) is None
    assert store.build("engines", "smol", INPUTS, make).built
    assert len(left_in(store)) == 1


def test_the_leftovers_of_another_artifacts_dead_build_are_removed_too(
    store: ArtifactStore,
) -> None:
    root = store.scratch.root
    root.mkdir()
    with child("wait", root) as process:
        lines_until(process, "making")
        process.kill()
    other = store.build("engines", "other", INPUTS, make)
    assert left_in(store) == [other.path.name]


def test_a_build_that_goes_on_is_not_taken_for_dead(store: ArtifactStore) -> None:
    root = store.scratch.root
    root.mkdir()
    with child("wait", root) as process:
        lines_until(process, "making")
        store.build("engines", "other", INPUTS, make)
        out, _ = process.communicate("\n", timeout=60)
    assert "built=True" in out


# ---- no room, no permission


def test_a_file_larger_than_the_system_allows_is_one_clear_error(store: ArtifactStore) -> None:
    store.scratch.root.mkdir()
    out, _ = child("limited", store.scratch.root).communicate(timeout=60)
    assert "there is no room to write" in out
    assert "remedy: free some space" in out
    assert left_in(store) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("a small file system cannot be mounted by this user")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_clear_error_with_nothing_half_written(tiny_disk: Path) -> None:
    out, _ = child("big", tiny_disk).communicate(timeout=60)
    assert "there is no room to write" in out
    assert left_in(ArtifactStore(Scratch(tiny_disk))) == []


def test_a_full_disk_behind_another_exception_is_said_too(tiny_disk: Path) -> None:
    def fill(folder: Path) -> None:
        with (folder / "weights").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 16)) == 1 << 16:
                pass
        raise RuntimeError("ios_base::failure")

    def fail(folder: Path) -> None:
        try:
            fill(folder)
        except OSError as error:
            raise RuntimeError("ios_base::failure") from error

    store = ArtifactStore(Scratch(tiny_disk))
    with pytest.raises(PrerequisiteError, match=r"no room to write .*ios_base::failure"):
        store.build("engines", "smol", INPUTS, fail)
    assert left_in(store) == []


def test_a_store_that_cannot_be_written_to_is_one_clear_error(store: ArtifactStore) -> None:
    store.scratch.root.mkdir(mode=0o555)
    out, _ = child("nobody", store.scratch.root).communicate(timeout=60)
    assert "the scratch space is not writable" in out
    assert "MLPERF_SCRATCH_PATH" in out
