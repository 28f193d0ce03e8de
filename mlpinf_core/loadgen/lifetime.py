"""How a child process ends: with its parent, after a thread died, with everything closed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from mlpinf_core.errors import ExitCode
from mlpinf_core.loadgen.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.loadgen.responder import Responder

log = logging.getLogger(__name__)


@contextlib.contextmanager
def closing(close: Callable[[], None]) -> Iterator[None]:
    """Close at the end; after a failure, what closing raises must not hide the failure."""
    try:
        yield
    except BaseException:
        try:
            close()
        except Exception:
            log.exception("closing after a failure failed too")
        raise
    close()


def thread_died(responder: Responder, args: threading.ExceptHookArgs) -> None:
    """A thread of a plugin's own ended with an exception; its queries would wait for ever."""
    if args.exc_type is SystemExit:  # how a thread ends itself; Python's own hook ignores it too
        return
    name = args.thread.name if args.thread else "a thread"
    log.error("%s died", name, exc_info=args.exc_value)
    error = args.exc_value
    responder.abort(Failure("raised", f"thread {name} died: {type(error).__name__}: {error}"))


def end_with_parent() -> None:
    """End this process, and all that it started, when its standard input does."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(ExitCode.INTERRUPTED)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()
