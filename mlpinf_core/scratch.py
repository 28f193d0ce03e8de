"""Where data lives: the scratch space, its four folders, its locks and its failures in words."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.errors import PrerequisiteError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VARIABLE = "MLPERF_SCRATCH_PATH"
"""The environment variable that MLPerf users know."""

FOLDERS = ("data", "models", "preprocessed_data", "engines")

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a write that there is no room for: disk, quota, file size limit."""

DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Error numbers of a write that is not allowed."""


def _absolute(root: Path) -> Path:
    return root.absolute()


@attrs.frozen
class Scratch:
    """The folder that holds data, models and what is made of them.

    Making one creates nothing on disk; :meth:`ensure` does, when something is to be written.

    Attributes:
        root: the scratch space itself, absolute.
    """

    root: Path = attrs.field(converter=_absolute)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Scratch:
        """``$MLPERF_SCRATCH_PATH``, and without it ``mlpinf`` in the user's cache directory.

        Args:
            environ: the environment; the process's own by default. An empty value counts as none.

        Raises:
            PrerequisiteError: no variable says where the user's home is.
        """
        environ = os.environ if environ is None else environ
        if chosen := environ.get(VARIABLE):
            return cls(_expand(chosen, environ))
        cache = environ.get("XDG_CACHE_HOME", "")
        # The XDG specification says that a relative path there is to be ignored.
        if Path(cache).is_absolute():
            return cls(Path(cache) / "mlpinf")
        return cls(_expand("~", environ) / ".cache" / "mlpinf")

    @property
    def data(self) -> Path:
        """Data sets as they were fetched."""
        return self.root / "data"

    @property
    def models(self) -> Path:
        """Checkpoints as they were fetched."""
        return self.root / "models"

    @property
    def preprocessed_data(self) -> Path:
        """Data sets in the form that a run reads."""
        return self.root / "preprocessed_data"

    @property
    def engines(self) -> Path:
        """What backends have built from checkpoints."""
        return self.root / "engines"

    def folder(self, name: str) -> Path:
        """One of the four folders, by name.

        Raises:
            UnknownNameError: there is no such folder.
        """
        if name not in FOLDERS:
            raise UnknownNameError("scratch folder", name, FOLDERS)
        return self.root / name

    def ensure(self, folder: Path | str) -> Path:
        """Create a folder of the scratch space if need be, and return it.

        Args:
            folder: relative to the root, or a path inside it.

        Raises:
            PrerequisiteError: it cannot be created or written to; says which part of the path is
                in the way and how to choose another place.
        """
        path = self.root / folder
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            above = (path, *path.parents)
            blocker = next((p for p in above if p.exists() and not p.is_dir()), path)
            raise PrerequisiteError(
                f"the scratch folder {path} cannot be used: {blocker} is not a directory",
                where=str(blocker),
                remedy=f"move {blocker} away, or {self._elsewhere}",
            ) from error
        except OSError as error:
            raise self.trouble(error, path) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise self.trouble(PermissionError(errno.EACCES, "Permission denied"), path)
        return path

    def free_bytes(self) -> int:
        """Bytes that this user may still write on the disk where the scratch space is or will be.

        Raises:
            PrerequisiteError: the disk cannot be asked.
        """
        import shutil

        place = next((p for p in (self.root, *self.root.parents) if p.exists()), Path("/"))
        try:
            return shutil.disk_usage(place).free
        except OSError as error:
            raise self.trouble(error, place) from error

    def trouble(self, error: OSError, path: Path) -> PrerequisiteError:
        """What to tell the user when the system refuses a write in the scratch space."""
        reason = error.strerror or str(error)
        if error.errno in FULL:
            with contextlib.suppress(PrerequisiteError):
                reason += f"; {readable(self.free_bytes())} free"
            return PrerequisiteError(
                f"there is no room to write {path} ({reason})",
                where=str(path),
                remedy=f"free some space or raise the limit, or {self._elsewhere}",
            )
        refused = "is not writable" if error.errno in DENIED else "cannot be used"
        return PrerequisiteError(
            f"the scratch space {refused}: {path} ({reason})",
            where=str(path),
            remedy=f"make it writable, or {self._elsewhere}",
        )

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Turn a refused write in the block into the error to show.

        Raises:
            PrerequisiteError: the block raised OSError.
        """
        try:
            yield
        except OSError as error:
            raise self.trouble(error, path) from error

    @contextlib.contextmanager
    def locked(self, path: Path, waiting: Callable[[], object] | None) -> Iterator[bool]:
        """Hold a lock between processes; the system frees it when its holder dies.

        Args:
            path: the lock's file; it stays, because removing it would let two holders in.
            waiting: called once when somebody else holds it, before waiting for them. None means
                not to wait.

        Yields:
            Whether the lock is held: always, unless ``waiting`` is None.

        Raises:
            PrerequisiteError: the lock's file cannot be created.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(path)
        held = True
        with self.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                held = waiting is not None
                if waiting is not None:
                    waiting()
                    lock.acquire()
        try:
            yield held
        finally:
            if held:
                lock.release()

    @property
    def _elsewhere(self) -> str:
        return f"set {VARIABLE} to a folder that you can write to"


def _expand(path: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    if home and (path == "~" or path.startswith("~/")):
        return Path(home + path[1:])
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PrerequisiteError(
            "the user's home directory is unknown, so there is no place for data and models",
            where=f"{VARIABLE}={path}" if path != "~" else None,
            remedy=f"set {VARIABLE} to a folder that you can write to",
        ) from error


def discard(path: Path) -> None:
    """Remove a file or a whole directory as far as the system lets us; what is left is harmless."""
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def sizes_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files below a folder with their bytes, while somebody else may be writing there.

    A file or a folder that goes away as it is looked at is left out.
    """
    for parent, _, files in os.walk(folder):  # which passes over a folder that is gone
        for name in files:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                size = path.lstat().st_size
                yield path, size


def readable(size: float) -> str:
    """A number of bytes for people: ``98.4 MB`` (powers of 1000)."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
