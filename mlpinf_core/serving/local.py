"""The launcher ``local``: servers as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.record import unwritable
from mlpinf_core.serving import guard
from mlpinf_core.serving.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlpinf_core.servers import ServerSpec

GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_KEPT: Final = 5
"""Last lines of a log that are shown when its server has ended."""
_LAST_WORDS: Final = 2.0
"""Seconds for the rest of an ended server's output; a child of it may never end."""
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


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
        command = [filled_in(argument, environment) for argument in spec.command]
        redactor = Redactor(environment, command)
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
        file.write(redactor.text(shlex.join(command)) + "\n")
        file.flush()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", guard.__name__, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal is for us to handle
            text=True,
            errors="replace",
        )

        def pump() -> None:
            with file, self._process.stdout or contextlib.nullcontext(()) as output:
                for line in output:
                    clean = redactor.text(line)
                    self._last.append(clean.rstrip())
                    with contextlib.suppress(OSError):  # a full disk does not stop the server
                        file.write(clean)
                        file.flush()

        def watch() -> None:
            self._process.wait()  # what it has started may still hold its output open
            self._on_end()

        self._pump = threading.Thread(target=pump, name=f"log of {spec.name}", daemon=True)
        self._pump.start()
        threading.Thread(target=watch, name=f"end of {spec.name}", daemon=True).start()

    @property
    def ended(self) -> str | None:
        """How it has ended, with its last words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._pump.join(_LAST_WORDS)
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


def filled_in(argument: str, environment: Mapping[str, str]) -> str:
    """An argument with the variables that it names as ``${NAME}``.

    Raises:
        PrerequisiteError: a variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise PrerequisiteError(
                f"the environment variable {found[1]} is not set",
                where=argument,
                remedy=f"set it: export {found[1]}=...",
            )
        return environment[found[1]]

    return _VARIABLE.sub(value, argument)


def _check_port(spec: ServerSpec) -> None:
    """A server that cannot listen may take minutes to say so, and another one would answer."""
    parts = urlsplit(spec.url)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname or "", parts.port or 0))
        except OSError as error:
            raise PrerequisiteError(
                f"port {parts.port} cannot be listened on: {error.strerror}",
                where=spec.name,
                remedy="choose another with --port",
            ) from error
