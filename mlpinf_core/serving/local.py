"""The launcher ``local``: servers as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.record import unwritable
from mlpinf_core.serving.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.servers import ServerSpec

GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_KEPT: Final = 5
"""Last lines of a log that are shown when its server has ended."""


class LocalServer:
    """A server's process. Its output goes to a log, without secrets."""

    def __init__(self, spec: ServerSpec, log: Path, on_end: Callable[[], None]) -> None:
        """Start it.

        Args:
            spec: what to start.
            log: file for its output.
            on_end: called from another thread when it has ended.

        Raises:
            PrerequisiteError: the program is not there, the port is taken, or the log cannot be
                written.
        """
        self.spec = spec
        self.log = log
        self._on_end = on_end
        self._last: deque[str] = deque(maxlen=_KEPT)
        environment = {**os.environ, **spec.environment}
        redactor = Redactor(environment, spec.command)
        _check_port(spec)
        if shutil.which(spec.command[0]) is None:
            raise PrerequisiteError(
                f"{spec.command[0]} is not installed",
                where=spec.name,
                remedy="install it, or choose another with --server",
            )
        try:
            file = log.open("w", encoding="utf-8")
        except OSError as error:
            raise unwritable(log, error) from error
        file.write(redactor.text(shlex.join(spec.command)) + "\n")
        file.flush()
        self._process = subprocess.Popen(
            spec.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal is for us to handle
            text=True,
            errors="replace",
        )

        def pump() -> None:
            with file, self._process as process:
                for line in process.stdout or ():
                    clean = redactor.text(line)
                    self._last.append(clean.rstrip())
                    with contextlib.suppress(OSError):  # a full disk does not stop the server
                        file.write(clean)
                        file.flush()
            self._on_end()

        self._pump = threading.Thread(target=pump, name=f"log of {spec.name}", daemon=True)
        self._pump.start()

    @property
    def ended(self) -> str | None:
        """How it has ended, with its last words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        last = " | ".join(line for line in self._last if line)
        return f"{self.spec.name} ended with {how}" + (f": {last}" if last else "")

    def stop(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """See to it that it has ended, and everything that it had started."""
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._pump.join(GRACE)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _check_port(spec: ServerSpec) -> None:
    """A server that cannot listen may take minutes to say so, and another one would answer."""
    parts = urlsplit(spec.url)
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname or "", parts.port or 0))
        except OSError as error:
            raise PrerequisiteError(
                f"port {parts.port} cannot be listened on: {error.strerror}",
                where=spec.name,
                remedy="choose another with --port",
            ) from error
