"""Servers together: started, waited for, watched, and stopped whatever happens."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.serving.local import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from mlpinf_core.servers import ServerSpec

_PAUSE: Final = 0.25
"""Seconds between two looks at a server that is starting, unless one ends."""
_TIMEOUT: Final = 5.0
"""Seconds that a look may take."""


class Servers:
    """A context in which servers run. One that ends is told of, and never started again."""

    def __init__(
        self,
        specs: Sequence[ServerSpec],
        directory: Path,
        *,
        ready_timeout: float,
        progress: Callable[[int, int], None],
    ) -> None:
        """Nothing is started yet.

        Args:
            specs: what to start.
            directory: for the logs.
            ready_timeout: seconds until all have to be ready.
            progress: told how many of how many are ready, as it changes.
        """
        self._specs = specs
        self._directory = directory
        self._ready_timeout = ready_timeout
        self._progress = progress
        self._running: list[LocalServer] = []
        self._changed = threading.Event()

    @property
    def urls(self) -> list[str]:
        """Where they are."""
        return [spec.url for spec in self._specs]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the backend that speaks to them."""
        return {key: value for spec in self._specs for key, value in spec.settings.items()}

    def __enter__(self) -> Servers:
        """Start all, and return when all are ready.

        Raises:
            PrerequisiteError: one could not be started, ended, or was not ready in time.
        """
        try:
            for spec in self._specs:
                log = self._directory / f"{spec.name}.log"
                self._running.append(LocalServer(spec, log, self._changed.set))
            self._await()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all."""
        self.stop()

    @property
    def ended(self) -> list[str]:
        """Those that have ended, and how."""
        return [how for server in self._running if (how := server.ended) is not None]

    def watch(self) -> None:
        """Return never but by an interruption.

        Raises:
            PrerequisiteError: a server has ended.
        """
        while not self.ended:
            self._changed.wait()
            self._changed.clear()
        self._complain()

    def stop(self) -> None:
        """End all of them, and what they started."""
        for server in self._running:
            server.stop()
        for server in self._running:
            server.kill()

    def _await(self) -> None:
        deadline = time.monotonic() + self._ready_timeout
        for number, spec in enumerate(self._specs):
            self._progress(number, len(self._specs))
            while not _healthy(spec):
                if self.ended:
                    self._complain()
                if time.monotonic() > deadline:
                    raise PrerequisiteError(
                        f"{spec.name} was not ready in {self._ready_timeout:g} s",
                        where=str(self._directory / f"{spec.name}.log"),
                        remedy="look there; give it longer with --ready-timeout",
                    )
                self._changed.wait(_PAUSE)
                self._changed.clear()
        self._progress(len(self._specs), len(self._specs))

    def _complain(self) -> None:
        raise PrerequisiteError(
            "; ".join(self.ended),
            where=str(self._directory),
            remedy="look at the logs there; a server that ends is not started again",
        )


def _healthy(spec: ServerSpec) -> bool:
    """Asked directly: a proxy is for other machines."""
    parts = urlsplit(spec.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", spec.health)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
