"""Where a source belongs in a scratch space, and what lies beside it while it is fetched."""

from __future__ import annotations

import abc
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import attrs

from mlpinf_core.benchmark import AnySource, Source
from mlpinf_core.downloads.ways import WayFailedError, no_room
from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.hashing import HashMemory, file_fault, sync_folder
from mlpinf_core.scratch import VARIABLE, Scratch

if TYPE_CHECKING:
    from typing import Self

S = TypeVar("S", bound=AnySource)


@attrs.frozen
class Place(abc.ABC, Generic[S]):
    """A source's place in a scratch space.

    Attributes:
        source: what belongs there.
        scratch: the scratch space.
        target: its own path.
        noun: what it is, in messages.
    """

    source: S
    scratch: Scratch
    target: Path
    noun: ClassVar[str]

    @classmethod
    def of(cls, source: S, scratch: Scratch) -> Self:
        """The place of a source.

        Raises:
            UnknownNameError: the source's kind is no folder of the scratch space.
            ValueError: the source's name leads out of that folder.
        """
        inside = PurePosixPath(source.name)
        if not inside.parts or inside.is_absolute() or ".." in inside.parts:
            raise ValueError(f"a source named {source.name!r} would leave its folder")
        return cls(source, scratch, scratch.folder(source.kind) / inside)

    @property
    def part(self) -> Path:
        """The beginning of it, of a fetch that goes on or was interrupted."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def work(self) -> Path:
        """A directory for what is needed only while fetching; only the lock's holder has it."""
        return self.target.with_name(f".{self.target.name}.tmp")

    @property
    def lock(self) -> Path:
        """The file of the lock that whoever fetches holds."""
        return self.target.parent / ".locks" / f"{self.target.name}.lock"

    def require_room(self, need: int) -> None:
        """Refuse to fetch what there is no room for.

        Raises:
            PrerequisiteError: fewer than ``need`` bytes are free.
        """
        free = self.scratch.free_bytes()
        if free < need:
            raise PrerequisiteError(
                f"{self.source.name} cannot be fetched: {no_room(need, free)}",
                where=str(self.target.parent),
                remedy=f"free some space, or set {VARIABLE} to a folder on a larger disk",
            )

    def given(self, local: Path) -> Path:
        """What the user means by a path."""
        return local

    @property
    @abc.abstractmethod
    def bytes_begun(self) -> int:
        """The bytes of the part, 0 when there is none."""

    @abc.abstractmethod
    def fault(self, path: Path) -> str | None:
        """What is wrong with what lies at a path as this source, or None when it is the one."""

    @abc.abstractmethod
    def settle(self, candidate: Path) -> Path:
        """Give what was checked its name, in one step that survives a power cut.

        Raises:
            WayFailedError: something is in the way.
            OSError: the system refuses.
        """


@attrs.frozen
class FilePlace(Place[Source]):
    """The place of a single file."""

    noun = "file"

    @property
    def memory(self) -> HashMemory:
        """The remembered hash of the file, here or where the user has it."""
        return HashMemory(self.target.with_name(f".{self.target.name}.sha256.json"))

    @property
    def bytes_begun(self) -> int:
        """The length of the part, 0 when there is none."""
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def fault(self, path: Path) -> str | None:
        """What is wrong with a file as this source's, or None when it is the one."""
        size = None if self.source.size_is_estimate else self.source.size
        return file_fault(path, size=size, sha256=self.source.sha256, memory=self.memory)

    def given(self, local: Path) -> Path:
        """The file that the user means: it, or the one of that name in the folder that is given.

        Downloaders put a file into a folder of its own, so that is looked into as well.
        """
        if not local.is_dir():
            return local
        name = self.target.name
        nested = sorted(path for path in local.glob(f"*/{name}") if path.is_file())
        inside = local / name
        return nested[0] if nested and not inside.exists() else inside

    def settle(self, candidate: Path) -> Path:
        """Give a checked file its name, in one step that survives a power cut.

        Raises:
            WayFailedError: a directory is in the way.
            OSError: the system refuses.
        """
        if self.target.is_dir():
            raise WayFailedError(f"{self.target} is a directory, and the file belongs there")
        with candidate.open("rb") as file:
            os.fsync(file.fileno())
        candidate.replace(self.target)
        sync_folder(self.target.parent)
        if self.source.sha256 is not None:
            self.memory.remember(self.target, self.source.sha256)
        return self.target
