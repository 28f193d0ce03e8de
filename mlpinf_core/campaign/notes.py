"""What a campaign writes down of itself: which steps are done, from what, and what runs now."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs.validators import instance_of

from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.hashing import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

import contextlib


@attrs.frozen
class Note:
    """That a step was carried out.

    Attributes:
        inputs: digest of what it was made from; with other inputs the step is to be done again.
        ok: how it came out.
        detail: in a phrase, for people.
        when: ISO 8601 in UTC.
    """

    inputs: str = attrs.field(validator=instance_of(str))
    ok: bool = attrs.field(validator=instance_of(bool))
    detail: str = attrs.field(validator=instance_of(str))
    when: str = attrs.field(validator=instance_of(str))


@attrs.frozen
class Notes:
    """The notes of a campaign, one file each, in a folder of their own.

    Attributes:
        folder: ``state`` in the campaign's directory.
    """

    folder: Path

    def read(self, step: str) -> Note | None:
        """The note of a step; None where there is none that can be read."""
        found = self._find(step)
        return found if isinstance(found, Note) else None

    def trouble(self, step: str) -> str | None:
        """Why the note of a step does not count though it is there; None where that is not so."""
        found = self._find(step)
        return found if isinstance(found, str) else None

    def write(self, step: str, inputs: str, *, ok: bool, detail: str) -> None:
        """Note a step, whole or not at all."""
        note = Note(inputs, ok, detail, _now())
        self._write(f"{step}.json", attrs.asdict(note))

    def now(self, step: str) -> None:
        """Note what is being done, for whoever asks for the status."""
        self._write("now.json", {"step": step, "since": _now(), "pid": os.getpid()})

    def running(self) -> dict[str, Any] | None:
        """What is being done; None where no process is at it."""
        from filelock import FileLock, Timeout

        if not os.path.exists(self._lock):  # noqa: PTH110 - Path.exists() raises where it may not look
            return None
        try:
            with FileLock(self._lock, timeout=0):
                return None
        except (Timeout, OSError):
            pass
        try:
            now = json.loads((self.folder / "now.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return now if isinstance(now, dict) else {}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the campaign; the system lets go of it when this process dies, however it does.

        Raises:
            ConfigurationError: another process is at it.
            PrerequisiteError: the directory cannot be written.
        """
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock)
            lock.acquire(timeout=0)
        except Timeout:
            at_it = self.running() or {}
            raise ConfigurationError(
                f"another process ({at_it.get('pid', 'unknown')}) is at this campaign",
                where=str(self.folder.parent),
                remedy="wait for it, or stop it; `mlpinf campaign status` shows what it does",
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def _find(self, step: str) -> Note | str | None:
        """A note, or why it is none, or that there is nothing."""
        path = self.folder / f"{step}.json"
        try:
            return Note(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{path} cannot be read: {error.strerror or error}"
        except (ValueError, RecursionError):
            return f"{path} is cut off, or no JSON"
        except TypeError:
            return f"{path} is not what a campaign notes"

    def _write(self, name: str, data: dict[str, Any]) -> None:
        try:
            write_atomically(self.folder / name, f"{json.dumps(data, indent=1)}\n".encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> PrerequisiteError:
        return PrerequisiteError(
            f"the campaign's directory cannot be written: {error.strerror or error}",
            where=str(error.filename or self.folder),
            remedy="make room or make it writable, and start the campaign again: it goes on",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
