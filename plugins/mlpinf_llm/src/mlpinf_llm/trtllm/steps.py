"""One step of making a model, in a process of its own, with its progress shown and its log kept."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlpinf_core.context import Run

PROGRESS: Final = b"@progress "
"""Begins a line that says how far a step is: done and total."""
_TELL_EVERY: Final = 20.0
"""Seconds between two signs of life of a step that says nothing."""
_LAST_WORDS: Final = 5


def report(done: int, total: int) -> None:
    """How far the step is; called in its process."""
    sys.stdout.write(f"{PROGRESS.decode()}{done} {total}\n")
    sys.stdout.flush()


def run_module(run: Run, what: str, module: str, job: Mapping[str, Any], directory: Path) -> None:
    """Run a module of this package as a program, with a job to read and a directory to fill.

    Args:
        run: whose directory keeps the job and the log.
        what: the step does, for people.
        module: its name.
        job: what it reads, as JSON.
        directory: what it writes to.

    Raises:
        BackendError: it failed; quotes its last words.
    """
    paper = run.directory / f"{module}.json"
    paper.write_text(json.dumps(job, indent=2), encoding="utf-8")
    log = run.directory / f"{module}.log"
    command = [
        sys.executable,
        "-P",
        "-m",
        f"mlpinf_llm.trtllm.{module}",
        str(paper),
        str(directory),
    ]
    with log.open("wb") as kept:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            words = _follow(run, what, process, kept)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    if code != 0:
        end = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise BackendError(
            f"{what} failed ({end}): {' / '.join(words) or 'it said nothing'}",
            where=str(log),
            remedy="what was made before it is kept; mend the cause and run again",
        )


def _follow(run: Run, what: str, process: subprocess.Popen[bytes], kept: Any) -> list[str]:
    """Keep what the process says, show its progress, and return its last words."""
    started = time.monotonic()
    last: deque[str] = deque(maxlen=_LAST_WORDS)
    rest = b""
    if process.stdout is None:
        return []
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(_TELL_EVERY):
                minutes = (time.monotonic() - started) / 60
                run.events.step(f"{what}, for {minutes:.0f} minutes now")
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                return list(last)
            kept.write(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(PROGRESS):
                    done, total = map(int, line.removeprefix(PROGRESS).split())
                    run.events.step(what, done, total)
                elif line.strip():
                    last.append(line.decode(errors="replace").strip())
