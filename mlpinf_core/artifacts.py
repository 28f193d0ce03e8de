"""What preparation makes, kept by what it was made from: engines, preprocessed data sets.

An artifact is a directory ``<folder>/<name>-<first 16 digits of its key>`` of the scratch space,
and its key is the sha256 of its inputs. So the same inputs find what is there, other inputs never
overwrite it, and "done" means that the files are what the manifest says, not that a directory
exists.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.hashing import JSON, digest, plain, sync_folder, sync_tree
from mlpinf_core.manifest import FILE_NAME, Manifest, differences, summary
from mlpinf_core.scratch import DENIED, FULL, Scratch, discard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_NEARLY_FULL = 1_000_000


@attrs.frozen
class Artifact:
    """Something prepared, verified when it was handed out.

    Attributes:
        path: its directory; not to be written to.
        key: sha256 of its inputs.
        manifest: what it was made from and what it holds.
        built: whether this call made it, rather than found it.
    """

    path: Path
    key: str
    manifest: Manifest
    built: bool


@attrs.frozen
class _Slot:
    """The place of one artifact, filled or not."""

    folder: Path
    name: str
    key: str
    inputs: Mapping[str, JSON]

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.key[:16]}"

    @property
    def path(self) -> Path:
        return self.folder / self.stem


@attrs.frozen
class ArtifactStore:
    """Builds artifacts once, and finds them again.

    Attributes:
        scratch: the scratch space that they lie in.
        handed_out: what :meth:`build` and :meth:`find` have returned so far, in that order.
    """

    scratch: Scratch
    handed_out: list[Artifact] = attrs.field(factory=list, init=False, eq=False, repr=False)

    def build(
        self,
        folder: str,
        name: str,
        inputs: Mapping[str, JSON],
        make: Callable[[Path], None],
        *,
        announce: Callable[[str], object] | None = None,
    ) -> Artifact:
        """The artifact of these inputs: found and verified, or made now.

        Two processes that want the same artifact make it once; the second waits. It appears under
        its name only when it is complete and on disk, so a ``make`` that fails or is killed leaves
        nothing that looks done; what it does leave is removed by the next build. A damaged
        artifact is made again, with a warning that says what was wrong with it.

        Args:
            folder: which folder of the scratch space: ``engines``, ``preprocessed_data``, ...
            name: what the artifact is, for people; the versions of one thing share it.
            inputs: everything that decides what comes out: sources with their checksums,
                settings, versions of the tools.
            make: writes plain files and directories into the empty directory that it is given.
            announce: told in a sentence what takes time and why, as soon as that is known.

        Raises:
            PrerequisiteError: the scratch space is full or cannot be written to.
            IntegrityError: ``make`` left nothing, or something other than plain files.
            Exception: whatever ``make`` raised.
        """
        artifact = self._found_or_made(self._slot(folder, name, inputs), make, announce)
        self.handed_out.append(artifact)
        return artifact

    def find(self, folder: str, name: str, inputs: Mapping[str, JSON]) -> Artifact | None:
        """The artifact of these inputs if it is there and sound, without writing or waiting.

        Sound means: its manifest is one of these inputs, and every file it lists has the size and
        the sha256 that it lists. The sha256 of a file is remembered while its size, times and
        inode stay the same (see :class:`~mlpinf_core.hashing.HashMemory` for what that does not
        catch: a failing disk above all), so that a large engine is not read at each start;
        ``verify(artifact, full=True)`` reads it. Files that the manifest does not list are let be,
        because some backends keep caches beside their models. None of this is protection against
        somebody who writes a new manifest.
        """
        found, _ = self._examine(self._slot(folder, name, inputs))
        if found:
            self.handed_out.append(found)
        return found

    def why_not(self, folder: str, name: str, inputs: Mapping[str, JSON]) -> str | None:
        """Why :meth:`find` would find nothing, in a phrase, or None when it would find it.

        One of: it is damaged and how; what changed since the nearest artifact of that name
        (``quantization changed from int8 to int8_float32``); nothing of that name was built yet.
        """
        slot = self._slot(folder, name, inputs)
        found, fault = self._examine(slot)
        return None if found else self._reason(slot, fault)

    def verify(self, artifact: Artifact, *, full: bool = True) -> str | None:
        """What is wrong with an artifact, or None when it is sound.

        Args:
            artifact: one that was found or built.
            full: read and hash every file, whatever is remembered of it.
        """
        slot = _Slot(
            artifact.path.parent, artifact.manifest.name, artifact.key, artifact.manifest.inputs
        )
        return self._examine(slot, full=full)[1] or (
            None if artifact.path.exists() else "it is missing"
        )

    def _slot(self, folder: str, name: str, inputs: Mapping[str, JSON]) -> _Slot:
        if not _NAME.fullmatch(name):
            raise ValueError(f"an artifact cannot be named {name!r}: letters, digits and ._+- only")
        return _Slot(self.scratch.folder(folder), name, digest(inputs), plain(inputs))

    def _found_or_made(
        self,
        slot: _Slot,
        make: Callable[[Path], None],
        announce: Callable[[str], object] | None,
    ) -> Artifact:
        tell = announce or (lambda _: None)
        found, _ = self._examine(slot)
        if found:
            return found
        self.scratch.ensure(slot.folder)

        sentence = f"waiting for another process that is building {slot.stem}"
        with self.scratch.locked(_lock(slot.folder, slot.stem), lambda: tell(sentence)):
            found, fault = self._examine(slot)
            if found:
                return found
            reason = self._reason(slot, fault)
            level = logging.WARNING if fault else logging.INFO
            log.log(level, "building %s: %s", slot.stem, reason)
            tell(f"building {slot.stem}: {reason}")
            self._sweep(slot)
            return self._make(slot, make)

    def _examine(self, slot: _Slot, *, full: bool = False) -> tuple[Artifact | None, str | None]:
        """The sound artifact and None; None and what is wrong; two Nones when there is nothing."""
        if not os.path.lexists(slot.path):
            return None, None
        try:
            manifest = Manifest.read(slot.path)
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            return None, f"{FILE_NAME} cannot be used: {reason}"
        if manifest.key != slot.key:
            return None, "its manifest is another artifact's"
        if fault := manifest.fault(slot.path, anew=full):
            return None, fault
        return Artifact(slot.path, slot.key, manifest, built=False), None

    def _reason(self, slot: _Slot, fault: str | None) -> str:
        if fault:
            return f"it is damaged: {fault}"
        newest_first = sorted(self._siblings(slot), key=lambda other: other.created, reverse=True)
        changes = [differences(other.inputs, slot.inputs) for other in newest_first]
        if not changes:
            return "nothing of that name has been built yet"
        return summary(min(changes, key=len)) or "its inputs changed"

    def _siblings(self, slot: _Slot) -> Iterator[Manifest]:
        """The manifests of the same name's other artifacts."""
        pattern = re.compile(re.escape(slot.name) + r"-[0-9a-f]{16}")
        with contextlib.suppress(OSError):
            for path in sorted(slot.folder.iterdir()):
                if pattern.fullmatch(path.name) and path != slot.path:
                    with contextlib.suppress(OSError, ValueError):
                        yield Manifest.read(path)

    def _make(self, slot: _Slot, make: Callable[[Path], None]) -> Artifact:
        import secrets

        work = slot.folder / f".{slot.stem}.{secrets.token_hex(4)}.tmp"
        try:
            with self.scratch.writing(work):
                work.mkdir()
            self._call(make, work)
            try:
                with self.scratch.writing(slot.path):
                    manifest = self._seal(slot, work)
            except ValueError as error:
                raise IntegrityError(
                    f"what was built for {slot.name} cannot be kept: {error}",
                    where=str(slot.path),
                    remedy="this is a fault of the plugin that builds it; report it there",
                ) from error
            with self.scratch.writing(slot.path):
                if os.path.lexists(slot.path):
                    # A rename replaces no full directory, so the damaged one steps aside first.
                    slot.path.rename(work.with_suffix(".old.tmp"))
                    discard(work.with_suffix(".old.tmp"))
                work.rename(slot.path)
                sync_folder(slot.folder)
        finally:
            discard(work)
        return Artifact(slot.path, slot.key, manifest, built=True)

    def _call(self, make: Callable[[Path], None], work: Path) -> None:
        try:
            make(work)
        except PrerequisiteError:
            raise
        except Exception as error:
            # A refusal elsewhere, of a source that cannot be read say, is not the store's.
            if isinstance(error, OSError) and (
                error.errno in FULL
                or (error.errno in DENIED and str(error.filename).startswith(str(work)))
            ):
                raise self.scratch.trouble(error, work) from error
            if self.scratch.free_bytes() < _NEARLY_FULL:
                # Libraries written in C++ report a full disk as any other failure.
                full = OSError(errno.ENOSPC, f"{type(error).__name__}: {error}")
                raise self.scratch.trouble(full, work) from error
            raise

    def _seal(self, slot: _Slot, work: Path) -> Manifest:
        """Describe what was made, and have all of it on disk before it gets its name."""
        manifest = Manifest.of(work, slot.name, slot.inputs)
        (work / FILE_NAME).write_bytes(manifest.to_json())
        sync_tree(work)
        return manifest

    def _sweep(self, slot: _Slot) -> None:
        """Remove what builds that died have left; the lock of ``slot`` is held."""
        for path in slot.folder.glob(".*.tmp"):
            match = re.fullmatch(r"\.(.+-[0-9a-f]{16})\.[0-9a-f]{8}(\.old)?\.tmp", path.name)
            if not match:
                continue
            if match[1] == slot.stem:
                discard(path)
                continue
            # Whoever builds holds the lock, so a temporary directory whose lock is free is dead.
            with self.scratch.locked(_lock(slot.folder, match[1]), None) as dead:
                if dead:
                    discard(path)


def _lock(folder: Path, stem: str) -> Path:
    return folder / ".locks" / f"{stem}.lock"
