"""Child processes for what a model has written: without network, with limits, easily ended.

How far a child is isolated depends on the system, and is said in the log:

- always: a process group and an empty folder of its own, an environment without the user's
  variables, limits on CPU time and memory, and no file can be written to;
- where ``unshare`` may make namespaces: no network, and its own processes, which end with it;
- where ``bwrap`` (bubblewrap) is installed: besides that, the file system is read-only.

A child can read what the user can read, and without bubblewrap it can delete what the user can
delete: generated programs are executed only when asked for.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

_GIB: Final = 1 << 30
_NAMESPACES: Final = (
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
)
_BUBBLEWRAP: Final = (
    "bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all",
    "--die-with-parent",
)  # fmt: skip


@attrs.frozen
class Limits:
    """What a child may use.

    Attributes:
        cpu_s: seconds of CPU time.
        memory: bytes of address space.
    """

    cpu_s: int
    memory: int = 4 * _GIB


@functools.cache
def isolation() -> tuple[str, ...]:
    """The command that a child is started by, as far as the system lets it be isolated."""
    for prefix, what in ((_BUBBLEWRAP, "bubblewrap"), (_NAMESPACES, "namespaces")):
        if shutil.which(prefix[0]) is None:
            continue
        tried = subprocess.run(
            [*prefix, sys.executable, "-I", "-c", ""], capture_output=True, check=False
        )
        if tried.returncode == 0:
            log.info("what a model has written is evaluated in %s of its own", what)
            return prefix
    log.warning(
        "what a model has written is evaluated with limits on time and memory only: this system "
        "makes no namespaces, so that it could reach the network"
    )
    return ()


@contextlib.contextmanager
def started(module: str, limits: Limits) -> Iterator[subprocess.Popen[bytes]]:
    """A child that runs a module; ended with all it has started when the block is left.

    Its first argument is the limits, which it has to set by :func:`confine`.
    """
    with tempfile.TemporaryDirectory(prefix="mlpinf-sandbox-") as folder:
        process = subprocess.Popen(
            [*isolation(), sys.executable, "-I", "-m", module, json.dumps(attrs.asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": folder, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with process:  # closes its pipes, and waits for it
                pass


def ask(module: str, question: Mapping[str, Any], limits: Limits, timeout_s: float) -> Any:
    """A child's answer to one question, both JSON.

    Returns:
        The answer; None where the child has died, said nothing sensible, or took too long.
    """
    with started(module, limits) as process:
        try:
            answer, _ = process.communicate(json.dumps(question).encode(), timeout_s)
        except subprocess.TimeoutExpired:
            return None
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def confine(text: str) -> None:
    """In the child: set the limits, which nothing can raise again, and write no file."""
    import resource

    limits = json.loads(text)
    for kind, value in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
