"""An output directory that fills up: one clear error, and nothing of ours that is half written."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core.audits import auditor
from mlpinf_core.errors import ExitCode, PrerequisiteError

from .audited import audited, drifting, made

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import PluginPath

RUN = """
import json, os, pathlib, resource, subprocess, sys
output, kind, room = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if kind == "disk":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(output)], check=True)
    found = os.statvfs(output)
    (output / "other").write_bytes(bytes(found.f_bavail * found.f_bsize - room))
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
command = "from mlpinf_core.cli import main; main()"
ended = subprocess.run(
    [sys.executable, "-c", command, *sys.argv[4:], "--output", str(output)],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
)
files = {
    str(p.relative_to(output)): p.read_text() for p in output.rglob("*")
    if p.is_file() and p.name != "other"
}
print(json.dumps([ended.returncode, ended.stdout, ended.stderr, files]))
"""
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")

RATE = ("--set", "loadgen.target_qps=1000")

SECONDS = 120.0
"""For what takes one or two; a limit for broken code."""


@functools.cache
def can_mount() -> bool:
    try:
        mount = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/tmp"]
        return subprocess.run(mount, capture_output=True, timeout=SECONDS).returncode == 0
    except OSError:
        return False


def run(output: Path, kind: str, room: int, *options: str) -> tuple[int, str, str, dict[str, str]]:
    """A run with so many bytes of room; see ``command``."""
    return command(output, kind, room, "run", "null", "--scenarios", "Offline", *options)


def command(
    output: Path, kind: str, room: int, *arguments: str
) -> tuple[int, str, str, dict[str, str]]:
    """The exit code, the output, the errors and the files of a command with so little room."""
    if kind == "disk" and not can_mount():
        pytest.skip("mounting a small disk is not permitted here")
    prefix = OWN_MOUNTS if kind == "disk" else ()
    found = subprocess.run(
        [*prefix, sys.executable, "-c", RUN, str(output), kind, str(room), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    result: Any = json.loads(found.stdout)
    return tuple(result)


# Room for no file; for the first one; for no events; for no LoadGen logs; for a part of them.
@pytest.mark.parametrize(
    ("kind", "room"),
    [("disk", 0), ("disk", 4096), ("disk", 8192), ("disk", 12288), ("disk", 16384),
     ("disk", 45056), ("file", 1000)],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["performance", "accuracy"])
def test_an_output_directory_that_fills_up_ends_in_one_error_and_no_half_file(
    mode: str, kind: str, room: int, tmp_path: Path
) -> None:
    options = [
        "--mode",
        mode,
        "--set",
        "loadgen.target_qps=1000",
        "--set",
        "loadgen.min_duration=0",
    ]
    code, output, errors, files = run(tmp_path, kind, room, *options)
    said = output + errors
    assert code == ExitCode.FAILED
    assert said.count("the output directory cannot be written: ") == 1
    assert said.count("choose another with --output, or make room") == 1
    assert "Traceback" not in said
    # LoadGen's own logs may be cut off, and the run is not judged by them.
    named = {name.rpartition("/")[2]: text for name, text in files.items()}
    ours = {name: text for name, text in named.items() if not name.startswith("mlperf_log_")}
    assert ours.keys() <= {"run.json", "result.json", "events.jsonl", "child.log", "user.conf"}
    for name, text in ours.items():
        if name.endswith(".json"):
            json.loads(text)
    for line in ours.get("events.jsonl", "").splitlines(keepends=True):
        assert line.endswith("\n")
        json.loads(line)


def test_as_json_it_is_one_document(tmp_path: Path) -> None:
    code, output, _, _ = run(tmp_path, "file", 1000, "--mode", "performance", "--json", *RATE)
    assert code == ExitCode.FAILED
    assert "the output directory cannot be written" in json.dumps(json.loads(output))


# -- audits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good runs, on a disk with room."""
    output = tmp_path_factory.mktemp("runs")
    made(output)
    return output


# Room for no file; for no LoadGen logs; for the run alone; for a part of what an audit copies.
@pytest.mark.parametrize("room", [0, 16384, 45056, 90112, 106496, 122880, 131072])
def test_an_audit_on_a_full_disk_says_so_with_the_remedy_and_copies_no_part_of_a_log(
    room: int, good_runs: Path, tmp_path: Path
) -> None:
    code, output, errors, files = command(
        tmp_path, "disk", room, "audit", "null", "--tests", "TEST01", "--against", str(good_runs)
    )
    said = output + errors
    assert code == ExitCode.FAILED
    assert said.count("the output directory cannot be written: No space left on device") == 1
    assert said.count("choose another with --output, or make room") == 1
    assert "Traceback" not in said
    assert not any(name.endswith("audit.json") for name in files)
    for name, text in files.items():
        (session, workload, test, *inside) = name.split("/")
        if inside[0] != "run":
            original = f"{session}/{workload}/{test}/run/{inside[-1]}"
            assert "/".join(inside).startswith("verify_") or text == files[original]


def test_a_full_disk_while_answers_are_scored_again_is_an_error_and_no_verdict(
    tmp_path: Path, plugin_path: PluginPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_path.write("drifting", drifting(worse=0))
    made(tmp_path / "runs", "drifting")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(auditor, "write_subset", full)
    with pytest.raises(PrerequisiteError, match="No space left on device") as caught:
        audited(tmp_path / "runs", "drifting")
    assert "make room" in str(caught.value.remedy)
    assert not list(tmp_path.rglob("audit.json"))
