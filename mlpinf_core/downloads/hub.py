"""Fetching a folder of files from the Hugging Face hub.

The hub's own client knows the addresses, the credentials and the mirrors, and brings the small
files. It drops what it has of a file when it is interrupted; so the large ones, whose sha256 the
hub lists, are fetched over the web like any other file, and continued. What to fetch, whether there
is room for it, and whether it came right is decided here, from the sizes and checksums that the hub
lists: sha256 of large files, the git blob's sha1 of the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.benchmark import Source
from mlpinf_core.downloads.ways import Patience, Progress, WayFailedError
from mlpinf_core.hashing import checksum_fault, file_fault, size_fault
from mlpinf_core.manifest import FileRecord
from mlpinf_core.scratch import DENIED, FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlpinf_core.benchmark import FolderSource
    from mlpinf_core.downloads.folder import FolderPlace
    from mlpinf_core.hashing import HashMemory

log = logging.getLogger(__name__)

_DATASETS = "datasets/"


@attrs.frozen
class _HubFile:
    """A file as the hub lists it: its size, and the one of the two checksums that it has."""

    path: str
    size: int
    sha256: str | None
    sha1: str

    def fault(self, path: Path, memory: HashMemory) -> str | None:
        """What is wrong with a file as this one, or None when it is the one."""
        if self.sha256 is not None:
            return file_fault(path, size=self.size, sha256=self.sha256, memory=memory)
        fault = size_fault(path, self.size)
        if fault is not None:
            return fault
        actual = _blob_sha1(path)
        return None if actual == self.sha1 else checksum_fault(actual, self.sha1, "git sha1")


def fetch_from_hub(
    place: FolderPlace, report: Callable[[int, int], None] | None, patience: Patience
) -> Path:
    """Bring the source's files into the part, verified, and nothing else.

    Files that are there and right are kept, and a large one that is there in part is continued. So
    an interrupted fetch goes on where it stopped, and a damaged folder gets the damaged files anew.

    Args:
        place: of the folder; its lock is held.
        report: called with bytes done and bytes in all.
        patience: time-outs and retries for large files; the client has its own.

    Raises:
        WayFailedError: the hub lets nobody in, does not answer, or has other files.
        PrerequisiteError: there is no room.
        OSError: the folder cannot be written to.
    """
    with _in_words(place.source):
        files = _listing(place.source)
    memory = place.begin()
    place.keep_begun(file.sha256 for file in files if file.sha256)
    place.require_room(sum(_missing(place, file) for file in files))
    total = sum(file.size for file in files)
    progress = Progress(report, total)
    before = 0
    with _quiet():
        for file in files:

            def tell(have: int, _: int, before: int = before) -> None:
                progress.almost(before + have)

            _bring(place, file, memory, patience, Progress(tell, file.size))
            before += file.size
            progress.almost(before)
    place.complete(
        FileRecord(file.path, file.size, memory.sha256(place.part / file.path)) for file in files
    )
    progress(total)
    return place.part


def _missing(place: FolderPlace, file: _HubFile) -> int:
    """The bytes of a file that are still to be fetched."""
    if size_fault(place.part / file.path, file.size) is None:
        return 0
    begun = 0
    if file.sha256:
        with contextlib.suppress(OSError):
            begun = place.begun(file.sha256).stat().st_size
    return max(file.size - begun, 0)


def _listing(source: FolderSource) -> list[_HubFile]:
    """The files to fetch, by path.

    Raises:
        WayFailedError: a file that the source requires is not among them.
    """
    from fnmatch import fnmatchcase

    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    repo_id, repo_type = _repository(source)
    listed = HfApi(endpoint=_endpoint()).list_repo_tree(
        repo_id, recursive=True, revision=source.revision, repo_type=repo_type
    )
    files = [
        _HubFile(f.path, f.size, f.lfs.sha256 if f.lfs else None, f.blob_id)
        for f in listed
        if isinstance(f, RepoFile) and any(fnmatchcase(f.path, p) for p in source.patterns)
    ]
    for file in files:
        if ".." in PurePosixPath(file.path).parts or file.path.startswith("/"):
            raise WayFailedError(f"the hub names a file outside the folder: {file.path}")
    paths = [PurePosixPath("/", file.path) for file in files]  # so that patterns match from the top
    lacking = [name for name in source.requires if not any(p.match(f"/{name}") for p in paths)]
    if lacking or not files:
        raise WayFailedError(f"the repository has no {', '.join(lacking) or 'such file'}")
    return sorted(files, key=lambda file: file.path)


def _bring(
    place: FolderPlace,
    file: _HubFile,
    memory: HashMemory,
    patience: Patience,
    progress: Progress,
) -> None:
    """Have one file in the part, verified."""
    path = place.part / file.path
    if file.fault(path, memory) is None:
        return
    path.unlink(missing_ok=True)
    log.info("%s: fetching %s", place.source.name, file.path)
    with _in_words(place.source, file.path):
        if file.sha256 is None:
            _bring_with_client(place, file)
        else:
            _bring_over_the_web(place, file, file.sha256, patience, progress)
            memory.remember(path, file.sha256)
    if fault := file.fault(path, memory):
        path.unlink(missing_ok=True)
        raise WayFailedError(f"what was fetched as {file.path} {fault}", wrong=True)


def _bring_with_client(place: FolderPlace, file: _HubFile) -> None:
    from huggingface_hub import hf_hub_download

    repo_id, repo_type = _repository(place.source)
    hf_hub_download(
        repo_id,
        file.path,
        repo_type=repo_type,
        revision=place.source.revision,
        local_dir=place.part,
        endpoint=_endpoint(),
    )


def _bring_over_the_web(
    place: FolderPlace, file: _HubFile, sha256: str, patience: Patience, progress: Progress
) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    from mlpinf_core.downloads.web import fetch_from_web

    source = place.source
    repo_id, repo_type = _repository(source)
    url = hf_hub_url(
        repo_id, file.path, repo_type=repo_type, revision=source.revision, endpoint=_endpoint()
    )
    name = f"{source.name}/{file.path}"
    large = Source(name, source.kind, file.size, sha256, source.licence, url=url)
    begun, path = place.begun(sha256), place.part / file.path
    headers: dict[str, str] = build_hf_headers()
    fetch_from_web(large, begun, patience, progress, headers=headers, pinned=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    begun.replace(path)


def _repository(source: FolderSource) -> tuple[str, str]:
    """The client's name for the repository, and for what it is."""
    if source.repository.startswith(_DATASETS):
        return source.repository.removeprefix(_DATASETS), "dataset"
    return source.repository, "model"


def _endpoint() -> str | None:
    """The user's mirror, as it is set now; the client reads it when it is imported."""
    return os.environ.get("HF_ENDPOINT") or None


@contextlib.contextmanager
def _in_words(source: FolderSource, path: str | None = None) -> Iterator[None]:
    """Turn the client's errors into the reason why this way failed.

    Raises:
        WayFailedError: the block raised anything but a refused write.
    """
    about = f"{path}: " if path else ""
    try:
        yield
    except WayFailedError as error:
        reason = error.reason if error.status is None else _answered(source, error.status)
        raise WayFailedError(f"{about}{reason}", wrong=error.wrong) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL | DENIED:
            raise
        raise WayFailedError(f"{about}{_reason(source, error)}") from error


def _reason(source: FolderSource, error: BaseException) -> str:
    from huggingface_hub.errors import RevisionNotFoundError

    # When the hub refuses, the client may say that its cache lacks the file, and why only behind.
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    if any(isinstance(e, RevisionNotFoundError) for e in chain):
        return f"the repository has no revision {source.revision}"
    codes = [getattr(getattr(e, "response", None), "status_code", None) for e in chain]
    code = next((code for code in codes if code is not None), None)
    if code is not None:
        return _answered(source, code)
    return str(chain[-1]).strip() or type(chain[-1]).__name__


def _answered(source: FolderSource, status: int) -> str:
    """What it means that the hub answered with an HTTP status."""
    if status in (401, 403):
        gate = f"the page https://huggingface.co/{source.repository} says what to accept"
        accept = source.gated or f"it may be gated or not exist; {gate}"
        return f"access was refused ({status}): {accept}; then `hf auth login`, or set HF_TOKEN"
    return f"the hub answered {status} {HTTPStatus(status).phrase}"


def _blob_sha1(path: Path) -> str:
    """The checksum by which git, and so the hub, knows a file that is not large."""
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's own progress bars, unless the environment asks for them."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
