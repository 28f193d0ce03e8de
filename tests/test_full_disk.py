"""An output directory that fills up: one clear error, and nothing of ours that is half written."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

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
    [sys.executable, "-c", command, "run", "null", "--output", str(output), *sys.argv[4:]],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
)
files = {p.name: p.read_text() for p in output.rglob("*") if p.is_file() and p.name != "other"}
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
    """The exit code, the output, the errors and the files of a run with so many bytes of room."""
    if kind == "disk" and not can_mount():
        pytest.skip("mounting a small disk is not permitted here")
    prefix = OWN_MOUNTS if kind == "disk" else ()
    arguments = [str(output), kind, str(room), "--scenarios", "Offline", *options]
    found = subprocess.run(
        [*prefix, sys.executable, "-c", RUN, *arguments],
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
    ours = {name: text for name, text in files.items() if not name.startswith("mlperf_log_")}
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
