"""The parent's side of a child process: start it, listen, notice when it hangs, end it for sure."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core import events as ev
from mlpinf_core.errors import ExitCode
from mlpinf_core.record import unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

TERMINATE_GRACE: Final = 3.0
"""Seconds between SIGTERM and SIGKILL."""

END_GRACE: Final = 30.0
"""Seconds between a child's last word and its end: engines may take a moment to be torn down."""

EVENTS_NAME: Final = "events.jsonl"
OUTPUT_NAME: Final = "child.log"


@attrs.frozen
class Failed:
    """Samples that failed for one reason."""

    code: str
    message: str
    count: int | None


@attrs.frozen
class Outcome:
    """How a child process ended.

    Attributes:
        exit_code: its exit code; negative for the signal that ended it.
        hung: what it had not done for too long when it was ended; None when it ended by itself.
        error: the fields of its error event, if it sent one.
        result: the fields of its result event, if it sent one.
        settings: the fields of its settings event, if it sent one.
        binding: the fields of its binding events, if it sent any.
        failures: what its SUT did wrong.
        phase: the last one it told of.
        first_query: seconds from its start to the beginning of the test; None if it never began.
        notes: what else it had to say of the run.
    """

    exit_code: int
    hung: str | None = None
    error: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    binding: Mapping[str, Any] | None = None
    failures: tuple[Failed, ...] = ()
    phase: str = "starting"
    first_query: float | None = None
    notes: tuple[str, ...] = ()


@attrs.define
class _Listener:
    """What the events so far say."""

    started: float
    phase: str = "starting"
    error: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    binding: Mapping[str, Any] | None = None
    failures: dict[tuple[str, str], int | None] = attrs.field(factory=dict)
    first_query: float | None = None
    notes: list[str] = attrs.field(factory=list)
    open_since: float | None = None
    all_answered: bool = False
    completed: tuple[int, int] = (0, 0)
    heard: float = 0.0

    def take(self, event: Mapping[str, Any], now: float) -> None:
        self.heard = now
        kind = event["event"]
        if kind == ev.PHASE:
            self.phase = event["name"]
            self.open_since = None
            if self.phase in ("running", "measuring"):
                self.first_query = now - self.started
        elif kind == ev.PROGRESS:
            completed = (event["completed"], event["tokens"])
            self.all_answered = event["issued"] == event["completed"]
            if self.all_answered and not event.get("busy"):
                self.open_since = None
            elif self.open_since is None or completed != self.completed:
                self.open_since = now
            self.completed = completed
        elif kind == ev.FAILURE:
            self.failures[event["code"], event["message"]] = event["count"]
        elif kind == ev.ERROR:
            self.error = event
        elif kind == ev.RESULT:
            self.result = event
        elif kind == ev.SETTINGS:
            self.settings = event
        elif kind == ev.BINDING:
            told = {key: event[key] for key in event if key not in ("event", "time")}
            self.binding = {**(self.binding or {}), **told}
        elif kind == ev.NOTE:
            self.notes.append(event["text"])

    def hang(self, now: float, start_timeout: float, hang_timeout: float) -> str | None:
        """What has not happened for too long."""
        if self.phase in ("running", "measuring"):
            if self.open_since is not None and now - self.open_since > hang_timeout:
                if self.all_answered:
                    return f"the SUT answered every query and did not return for {hang_timeout:g} s"
                return f"queries were open and none completed for {hang_timeout:g} s"
            if now - self.heard > hang_timeout:
                return f"the process gave no sign of life for {hang_timeout:g} s"
        elif now - self.heard > start_timeout:
            return f"nothing happened while {self.phase} for {start_timeout:g} s"
        return None


def supervise(
    task: str,
    directory: Path,
    *,
    start_timeout: float,
    hang_timeout: float,
    on_event: Callable[[Mapping[str, Any]], None],
    debug: bool = False,
) -> Outcome:
    """Run a task of :mod:`mlpinf_core.loadgen.child` to its end.

    Args:
        task: ``prepare``, ``measure``, ``execute`` or ``score``.
        directory: of the run, with its ``run.json``; gets ``events.jsonl`` and ``child.log``.
        start_timeout: seconds without an event before the test; the child is ended after it.
        hang_timeout: seconds without a completion in the test; likewise.
        on_event: called with every event.
        debug: let the child log in detail.

    Raises:
        PrerequisiteError: the run directory cannot be written.

    Whatever is raised here, KeyboardInterrupt included, the child and its own children are gone
    before it is seen by the caller. SIGTERM raises KeyboardInterrupt too, unless the program has
    its own handler for it.
    """
    reader, writer = os.pipe()
    with (
        _terminable(),
        os.fdopen(reader, "rb", buffering=0) as pipe,
        _appending(directory / EVENTS_NAME) as kept,
        _appending(directory / OUTPUT_NAME) as output,
    ):
        try:
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # the user's working directory is no place to import from
                    "-m",
                    "mlpinf_core.loadgen.child",
                    task,
                    str(directory),
                    str(writer),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                start_new_session=True,  # Ctrl-C at the terminal is the parent's to handle
                env=_environment(debug=debug),
            )
        finally:
            os.close(writer)
        try:
            listener, hung = _listen(child, pipe, kept, on_event, start_timeout, hang_timeout)
        finally:
            _end(child)
    error = listener.error
    if child.returncode == 0 and hung is None and listener.result is None and error is None:
        error = {
            "type": "RunError",
            "what": f"the child process ended while {listener.phase}, and said nothing",
            "where": str(directory),
            "remedy": "look at child.log there; does a plugin call os._exit()?",
            "exit_code": int(ExitCode.FAILED),
        }
    return Outcome(
        exit_code=child.returncode,
        hung=hung,
        error=error,
        result=listener.result,
        settings=listener.settings,
        binding=listener.binding,
        failures=tuple(Failed(*key, count) for key, count in listener.failures.items()),
        phase=listener.phase,
        first_query=listener.first_query,
        notes=tuple(listener.notes),
    )


def _environment(*, debug: bool) -> dict[str, str]:
    environment = dict(os.environ)
    environment["PYTHONUNBUFFERED"] = "1"
    if debug:
        environment["MLPINF_DEBUG"] = "1"
    return environment


def _listen(
    child: subprocess.Popen[bytes],
    pipe: IO[bytes],
    kept: IO[bytes],
    on_event: Callable[[Mapping[str, Any]], None],
    start_timeout: float,
    hang_timeout: float,
) -> tuple[_Listener, str | None]:
    """Take events until the child has closed its end, or hangs."""
    now = time.monotonic()
    listener = _Listener(started=now, heard=now)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            patience = min(start_timeout, hang_timeout, 1.0)
            if selector.select(patience):
                chunk = os.read(pipe.fileno(), 65536)
                if not chunk:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if (event := ev.parse(line)) is not None:
                        _keep(kept, event)
                        listener.take(event, time.monotonic())
                        _tell(on_event, event)
            elif child.poll() is not None:
                break  # what it started holds the pipe open
            hung = listener.hang(time.monotonic(), start_timeout, hang_timeout)
            if hung is not None:
                return listener, hung
    try:
        child.wait(timeout=END_GRACE)
    except subprocess.TimeoutExpired:
        return listener, f"the process did not end within {END_GRACE:g} s of its last word"
    return listener, None


def _tell(on_event: Callable[[Mapping[str, Any]], None], event: Mapping[str, Any]) -> None:
    """Pass an event on; a display that fails must not take the run with it."""
    try:
        on_event(event)
    except Exception:
        log.exception("an event could not be shown: %s", event)


def _appending(path: Path) -> IO[bytes]:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error


def _keep(kept: IO[bytes], event: Mapping[str, Any]) -> None:
    """Append an event whole or, where the disk is full, not at all."""
    line = json.dumps(event).encode() + b"\n"
    before = kept.tell()
    try:
        while line:
            line = line[kept.write(line) :]
    except OSError as error:
        with contextlib.suppress(OSError):
            kept.truncate(before)
        raise unwritable(Path(kept.name), error) from error


def _end(child: subprocess.Popen[bytes]) -> None:
    """See to it that the child and whatever it started are gone."""
    try:
        _signal_group(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=TERMINATE_GRACE)
    finally:
        # Also when the child itself has ended: its own children may not heed SIGTERM.
        _signal_group(child, signal.SIGKILL)
        child.wait()
        if child.stdin is not None:
            child.stdin.close()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM interrupt as SIGINT does, where it would otherwise end the process at once."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
