"""Where a fetched folder belongs, and how it is told from an incomplete or a damaged one."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.benchmark import FolderSource
from mlpinf_core.downloads.place import Place
from mlpinf_core.hashing import JSON, HashMemory, digest, sync_folder, sync_tree, write_atomically
from mlpinf_core.manifest import HASHES_NAME, FileRecord, Manifest, differences, summary
from mlpinf_core.scratch import discard, sizes_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

MANIFEST_NAME: Final = ".manifest.json"
"""What the manifest is called in a fetched folder, where a repository may have its own."""

_BEGUN: Final = ".begun"
"""The folder in the part for what is there of large files, each named by its sha256."""
_CLIENTS: Final = ".cache"
"""The folder that the hub's client works in; what a killed one leaves there is of no use."""
_OURS: Final = (MANIFEST_NAME, HASHES_NAME)


@attrs.frozen
class FolderPlace(Place[FolderSource]):
    """The place of a folder.

    Its manifest lies in it, so that a folder that is copied to another machine takes it along.
    """

    noun = "folder"

    @property
    def inputs(self) -> Mapping[str, JSON]:
        """What decides which files belong in the folder."""
        source = self.source
        return {
            "repository": source.repository,
            "revision": source.revision,
            "patterns": source.patterns,
        }

    @property
    def bytes_begun(self) -> int:
        """The bytes in the part that need not be fetched again, 0 when there is none.

        Those of whole files, and of the beginnings that a fetch goes on from.
        """
        total = 0
        for path, size in sizes_in(self.part):
            top, *inside = path.relative_to(self.part).parts
            note = top == _BEGUN and path.suffix == ".json"
            if top == _CLIENTS or note or (top in _OURS and not inside):
                continue
            total += size
        return total

    def begun(self, sha256: str) -> Path:
        """Where the large file of that checksum grows until it is whole."""
        return self.part / _BEGUN / sha256

    def fault(self, path: Path) -> str | None:
        """What is wrong with a folder as this source's, or None when it will do.

        A folder that was fetched is held against its manifest. One that somebody put there, or
        that the user gives, has to have what the source requires.
        """
        try:
            if not path.is_dir():
                return "is not a folder" if path.exists() else "is missing"
            lacking = [
                n for n in self.source.requires if not any(f.is_file() for f in path.glob(n))
            ]
            if lacking:
                return f"lacks {', '.join(lacking)}"
            manifest = Manifest.read(path, MANIFEST_NAME) if path == self.target else None
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"
        except ValueError as error:
            return f"has a {MANIFEST_NAME} that cannot be used: {error}"
        if manifest is None:
            return None
        if manifest.key != digest(self.inputs):
            return f"is another: {summary(differences(manifest.inputs, self.inputs))}"
        if fault := manifest.fault(path):
            return f"is damaged: {fault}"
        return None

    def begin(self) -> HashMemory:
        """Have a part to fetch into, without a dead client's leavings; the memory of its hashes.

        A folder that has the final name and a fault becomes the part, so that only what is wrong
        in it is fetched again. A link is let be: what it leads to is the user's.

        Raises:
            OSError: the system refuses.
        """
        if self.target.is_dir() and not self.target.is_symlink() and not self.part.exists():
            log.warning("%s is completed as %s", self.target, self.part)
            self.target.rename(self.part)
        self.part.mkdir(exist_ok=True)
        (self.part / _BEGUN).mkdir(exist_ok=True)
        discard(self.part / _CLIENTS)
        return HashMemory(self.part / HASHES_NAME)

    def keep_begun(self, checksums: Iterable[str]) -> None:
        """Drop the beginnings of all files but those of these checksums."""
        wanted = set(checksums)
        for path in (self.part / _BEGUN).iterdir():
            if path.name.removesuffix(".json") not in wanted:
                discard(path)

    def complete(self, files: Iterable[FileRecord]) -> None:
        """Leave these files alone in the part, and their manifest.

        Raises:
            OSError: the system refuses.
        """
        manifest = Manifest.now(self.source.name, self.inputs, files)
        kept = {self.part / record.path for record in manifest.files}
        kept |= {self.part / HASHES_NAME}
        for path in sorted(self.part.rglob("*"), reverse=True):  # what is inside comes first
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in kept:
                path.unlink()
        write_atomically(self.part / MANIFEST_NAME, manifest.to_json())

    def settle(self, candidate: Path) -> Path:
        """Give a complete folder its name, in one step that survives a power cut.

        Raises:
            OSError: the system refuses.
        """
        sync_tree(candidate)
        if os.path.lexists(self.target):
            # A rename replaces no full directory, so what is there steps aside first.
            discard(self.work)
            self.target.rename(self.work)
        candidate.rename(self.target)
        sync_folder(self.target.parent)
        return self.target
