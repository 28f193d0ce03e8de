"""The few ways in which a machine is asked about itself, so that tests can bring a recorded one."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE: Final = 20.0
"""Seconds that a command may take: nvidia-smi without persistence mode takes several."""


class UnavailableError(Exception):
    """The machine does not tell; the text says why, in a phrase ("permission denied")."""


class Host(Protocol):
    """A machine that can be asked; every method raises UnavailableError and nothing else."""

    def read(self, path: str) -> str:
        """The text of a file, stripped."""
        ...

    def entries(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def run(self, *command: str) -> str:
        """What a command prints on standard output, stripped."""
        ...

    def nvml(self, function: str, *arguments: int) -> Any:
        """What a query function of NVML returns, as plain data.

        Args:
            function: ``nvmlDeviceGetName``. What takes a device gets its index.
            arguments: numbers, the device's index first.
        """
        ...

    def version(self, distribution: str) -> str:
        """The version of an installed Python distribution."""
        ...

    def environment(self, name: str) -> str:
        """An environment variable that is set, and not empty."""
        ...


class ThisHost:
    """The machine that this process runs on."""

    def read(self, path: str) -> str:
        """Read a file, of /proc or /sys mostly."""
        with _refusals():
            return Path(path).read_bytes().decode("utf-8", "replace").strip("\0\n\t ")

    def entries(self, path: str) -> list[str]:
        """List a directory."""
        with _refusals():
            return sorted(os.listdir(path))  # noqa: PTH208 - names are wanted, not paths

    def run(self, *command: str) -> str:
        """Run a command that only looks."""
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=_PATIENCE,
                env=environment,
                check=False,
            )
        except FileNotFoundError:
            raise UnavailableError(f"{command[0]} is not installed") from None
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{command[0]} took more than {_PATIENCE:g} s") from None
        except OSError as error:
            raise UnavailableError(_reason(error)) from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            told = f": {said[0]}" if said else ""
            raise UnavailableError(f"{command[0]} ended with {done.returncode}{told}")
        return done.stdout.strip()

    def nvml(self, function: str, *arguments: int) -> Any:
        """Ask NVIDIA's management library through ``nvidia-ml-py``."""
        library = _nvml()
        try:
            call = getattr(library, function)
            given: tuple[Any, ...] = arguments
            if function.startswith("nvmlDeviceGet") and arguments:
                handle = library.nvmlDeviceGetHandleByIndex(arguments[0])
                given = (handle, *arguments[1:])
            return _plain(call(*given))
        except AttributeError:
            raise UnavailableError(f"this nvidia-ml-py has no {function}") from None
        except library.NVMLError as error:
            raise UnavailableError(str(error)) from None

    def version(self, distribution: str) -> str:
        """Look a distribution up."""
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            raise UnavailableError(f"{distribution} is not installed") from None

    def environment(self, name: str) -> str:
        """Look a variable up."""
        value = os.environ.get(name, "")
        if not value:
            raise UnavailableError(f"{name} is not set")
        return value


@functools.cache
def _nvml() -> Any:
    """The library, initialised once a process; it ends with the process."""
    try:
        import pynvml
    except ImportError:
        raise UnavailableError("nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise UnavailableError(str(error)) from None
    return pynvml


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, ctypes.Structure):
        fields: Any = value._fields_
        return {name: _plain(getattr(value, name)) for name, *_ in fields}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(_reason(error)) from None


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
