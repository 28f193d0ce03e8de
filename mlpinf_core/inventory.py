"""What installed benchmarks need, and what lies in the scratch space."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core import downloads
from mlpinf_core.benchmark import AnySource
from mlpinf_core.downloads import SourceState
from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.manifest import Manifest
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.scratch import FOLDERS, readable, sizes_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpinf_core.plugins import Plugins
    from mlpinf_core.scratch import Scratch
    from mlpinf_core.vocabulary import Variant


class ItemState(enum.StrEnum):
    """How an entry of the scratch space is."""

    OK = "ok"
    MISSING = "missing"
    PARTIAL = "partial"
    """Begun to be fetched."""
    WRONG = "wrong"
    """It is not what it should be: another file, or a damaged one."""
    LEFT = "left over"
    """Of a process that died; the next that builds the same removes it."""
    UNKNOWN = "unknown"
    """Nothing that is installed asks for it."""


@attrs.frozen
class Item:
    """One file or folder of the scratch space, or one that belongs there.

    Attributes:
        path: where it is, or belongs.
        state: how it is.
        size: bytes on disk; of what is missing, those that it will have.
        whose: benchmarks and variants that need it, or what it was built as.
        detail: what is wrong with it, or else None.
    """

    path: Path
    state: ItemState
    size: int
    whose: str
    detail: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**attrs.asdict(self), "path": str(self.path), "state": self.state.value}


@attrs.frozen
class Needed:
    """A source that an installed benchmark needs.

    Attributes:
        source: the file or folder.
        local: where the user has it, as the settings say; None means the scratch space.
        whose: the benchmark and variant.
    """

    source: AnySource
    local: Path | None
    whose: str


def sources_of_all(
    plugins: Plugins, variant: Variant | None = None, *, runnable: bool = True
) -> tuple[list[Needed], list[str]]:
    """What every installed benchmark needs, and what was left out of that and why.

    Args:
        plugins: those that are there.
        variant: of this one alone.
        runnable: leave out variants that cannot be run yet.
    """
    found: dict[tuple[AnySource, Path | None], list[str]] = {}
    left_out = []
    for benchmark in plugins.benchmarks():
        for name, spec in benchmark.variants.items():
            if variant not in (None, name):
                continue
            whose = f"{benchmark.name} {name}"
            try:
                plan = make_plan(
                    Request((benchmark.name,), benchmark.scenarios[:1], variant=name), plugins
                )
                sources = {s: p for run in plan.runs for s, p in run.sources(plugins).items()}
            except (PrerequisiteError, ConfigurationError) as error:
                if runnable:
                    left_out.append(error.what)
                    continue
                sources = dict.fromkeys(spec.sources)
            for source, local in sources.items():
                found.setdefault((source, local), []).append(whose)
    return [Needed(s, p, ", ".join(names)) for (s, p), names in found.items()], left_out


def require_room(needed: Iterable[Needed], scratch: Scratch) -> int:
    """The bytes still to be fetched, if they fit.

    Raises:
        PrerequisiteError: they do not; nothing has been fetched.
    """
    left = _left(needed, scratch, by_hand=False)
    free = scratch.free_bytes()
    if left > free:
        raise PrerequisiteError(
            f"{readable(left)} are to be fetched, and {readable(free)} are free",
            where=str(scratch.root),
            remedy="make room, fetch fewer benchmarks at a time, or set MLPERF_SCRATCH_PATH to "
            "another disk",
        )
    return left


def bytes_by_hand(needed: Iterable[Needed], scratch: Scratch) -> int:
    """The bytes still missing that only a person can get, about."""
    return _left(needed, scratch, by_hand=True)


def _left(needed: Iterable[Needed], scratch: Scratch, *, by_hand: bool) -> int:
    left = 0
    for each in {(each.source, each.local): each for each in needed}.values():
        if each.source.by_hand is not by_hand or each.local is not None:
            continue
        status = downloads.status(each.source, scratch)
        if status.state is not SourceState.OK:
            left += max(each.source.size - status.present, 0)
    return left


def inventory(plugins: Plugins, scratch: Scratch, *, anew: bool = False) -> list[Item]:
    """Everything in the scratch space, and what installed benchmarks lack of it.

    Args:
        plugins: those that are there.
        scratch: the scratch space; nothing is written there but remembered checksums.
        anew: read every file of an artifact, whatever is remembered of its checksum.
    """
    items = []
    known: set[Path] = set()
    for each in sources_of_all(plugins, runnable=False)[0]:
        item = _source(each, scratch)
        items.append(item)
        part = item.path.with_name(f"{item.path.name}.part")
        known |= {item.path, part, part.with_name(f"{part.name}.json")}  # the part has a note
    for folder in FOLDERS:
        items += _rest(scratch.folder(folder), known, anew=anew)
    return items


def _source(needed: Needed, scratch: Scratch) -> Item:
    status = downloads.status(needed.source, scratch, local=needed.local)
    there = status.state in (SourceState.OK, SourceState.WRONG)
    size = size_of(status.path) if there else status.present or needed.source.size
    return Item(status.path, ItemState(status.state.value), size, needed.whose, status.why)


def _rest(folder: Path, known: set[Path], *, anew: bool) -> Iterator[Item]:
    """What lies in a folder and is no source."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return
    for path in paths:
        if path in known:
            continue
        if any(path in other.parents for other in known) and path.is_dir():
            yield from _rest(path, known, anew=anew)  # a source's name may lead into a folder
            continue
        if path.name.startswith("."):
            if path.suffix == ".tmp":
                yield Item(path, ItemState.LEFT, size_of(path), "a build that did not end")
            continue  # locks and remembered checksums
        yield _artifact(path, anew=anew)


def _artifact(path: Path, *, anew: bool) -> Item:
    size = size_of(path)
    if not (path / "manifest.json").is_file():
        return Item(path, ItemState.UNKNOWN, size, "nothing that is installed")
    try:
        manifest = Manifest.read(path)
        fault = manifest.fault(path, anew=anew)
    except (OSError, ValueError) as error:
        return Item(path, ItemState.WRONG, size, path.name, f"manifest.json: {error}")
    state = ItemState.OK if fault is None else ItemState.WRONG
    return Item(path, state, size, f"built {manifest.created}: {manifest.name}", fault)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 of what cannot be looked at."""
    try:
        if path.is_file():
            return path.stat().st_size
    except OSError:
        return 0
    return sum(size for _, size in sizes_in(path))
