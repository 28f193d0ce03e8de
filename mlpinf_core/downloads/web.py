"""Fetching a file over HTTP: resumed where it stopped, retried where that can help, checked."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any

from mlpinf_core.downloads.ways import Patience, Progress, WayFailedError, accept
from mlpinf_core.hashing import write_atomically

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from pathlib import Path

    from mlpinf_core.benchmark import Source

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_WORTH_A_FRESH_COUNT = 1 << 20
_LONGEST_WAIT_S = 30.0
_CAN_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


class _TransientError(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def fetch_from_web(source: Source, part: Path, patience: Patience, progress: Progress) -> None:
    """Bring the source's file to ``part``, verified.

    The bytes go straight into ``part``, and a note beside it (``<part>.json``) says which file they
    are the beginning of, so that an interrupted or killed fetch is continued by the next one.

    Args:
        source: one with a ``url``.
        part: where the file grows; it stays when fetching fails, unless its content is wrong.
        patience: time-outs and retries.
        progress: told the bytes that are there.

    Raises:
        WayFailedError: the server has another file, or none, or does not answer.
        OSError: ``part`` cannot be written.
    """
    url = source.url or ""
    if not url.startswith(("http://", "https://")):
        raise WayFailedError(f"{url} is not an http or https address")
    _drop_another_files_part(source, part)
    resumed = _grow(source, url, part, patience, progress)
    try:
        accept(part, source)
    except WayFailedError:
        if not resumed:
            raise
        # The server may have changed the file between the two halves; whole, it may be right.
        log.warning("%s was resumed and is wrong; fetching it anew", source.name)
        _grow(source, url, part, patience, progress)
        accept(part, source)
    _note(part).unlink(missing_ok=True)


def grow_from_web(source: Source, part: Path, patience: Patience, progress: Progress) -> None:
    """Bring a file to ``part`` whose checksum nobody has published: only its size is checked.

    Otherwise as :func:`fetch_from_web`; the source's ``sha256`` is not looked at.
    """
    _drop_another_files_part(source, part)
    _grow(source, source.url or "", part, patience, progress)
    _note(part).unlink(missing_ok=True)


def _grow(source: Source, url: str, part: Path, patience: Patience, progress: Progress) -> bool:
    """Make attempts until the part is whole; whether it was there in part before."""
    resumed = _length(part) > 0
    failures = 0
    while (before := _length(part)) != source.size:
        try:
            _attempt(source, url, part, patience, progress)
        except _TransientError as error:
            if _length(part) - before >= _WORTH_A_FRESH_COUNT:
                failures = 0  # a long download over a bad line is not given up while it advances
            failures += 1
            if failures >= patience.tries:
                raise WayFailedError(f"{error} ({failures} attempts)") from error
            wait = max(patience.backoff_s * 2 ** (failures - 1), error.wait_s)
            log.info("%s: %s; trying again in %.1f s", url, error, wait)
            time.sleep(wait)
        resumed = resumed or before > 0
    return resumed


def _attempt(source: Source, url: str, part: Path, patience: Patience, progress: Progress) -> None:
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    from mlpinf_core import __name__ as agent

    have = _length(part)
    headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := _read_note(part).get("validator"):
            headers["If-Range"] = validator
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http(s), checked above
    try:
        with urllib.request.urlopen(request, timeout=patience.timeout_s) as answer:  # noqa: S310
            _receive(answer, source, part, have, progress)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code == 416:  # it has fewer bytes than are here: these are not its file's
                part.unlink(missing_ok=True)
                raise _TransientError(reason) from error
            if error.code in _CAN_PASS:
                raise _TransientError(reason, wait_s=_retry_after(error.headers)) from error
            raise WayFailedError(reason) from error
    except urllib.error.URLError as error:
        cause = error.reason
        if isinstance(cause, TimeoutError):
            raise _TransientError(f"no answer within {patience.timeout_s:g} s") from error
        if isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            raise _TransientError(f"the connection broke ({cause})") from error
        what = "its certificate is not trusted" if isinstance(cause, ssl.SSLError) else "no route"
        if isinstance(cause, ConnectionRefusedError):
            what = "the server does not accept connections"
        raise WayFailedError(f"{what} ({cause})") from error
    except TimeoutError as error:
        raise _TransientError(f"no byte arrived for {patience.timeout_s:g} s") from error
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _TransientError(f"the connection broke ({error!r})") from error


def _receive(
    answer: HTTPResponse, source: Source, part: Path, have: int, progress: Progress
) -> None:
    validator = _validator(answer)
    if answer.status == 206:
        start, total = _content_range(answer)
        if start != have or validator != _read_note(part).get("validator"):
            part.unlink(missing_ok=True)
            raise _TransientError("the server continued another file than the one begun")
    else:  # it does not know ranges, or the file is not the one begun: from the start
        have = 0
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    if total not in (None, source.size):
        part.unlink(missing_ok=True)
        raise WayFailedError(
            f"the server's file has {total} bytes instead of {source.size}", wrong=True
        )
    if have == 0:
        note = {"url": source.url, "sha256": source.sha256, "validator": validator}
        part.unlink(missing_ok=True)
        write_atomically(_note(part), json.dumps(note).encode())
    # Unbuffered: what has arrived is in the file whenever the process ends.
    with part.open("ab", buffering=0) as file:
        progress(have)
        while chunk := answer.read1(_CHUNK):
            _write_all(file, chunk)
            have += len(chunk)
            if have > source.size:
                part.unlink(missing_ok=True)
                raise WayFailedError(
                    f"the server sends more than the {source.size} bytes expected", wrong=True
                )
            progress(have)
        os.fsync(file.fileno())
    if have < source.size:
        raise _TransientError(f"the connection closed after {have} of {source.size} bytes")


def _write_all(file: Any, chunk: bytes) -> None:
    """An unbuffered write may take only a part, just before a disk is full for one."""
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _validator(answer: HTTPResponse) -> str | None:
    """What tells one version of the server's file from another, byte for byte."""
    etag: str | None = answer.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    modified: str | None = answer.headers.get("Last-Modified")
    return modified


def _content_range(answer: HTTPResponse) -> tuple[int | None, int | None]:
    """Where the bytes of a partial answer start, and how many the whole file has."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not found:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _retry_after(headers: Any) -> float:
    wait = (headers or {}).get("Retry-After", "")
    return min(float(wait), _LONGEST_WAIT_S) if wait.isdecimal() else 0.0


def _drop_another_files_part(source: Source, part: Path) -> None:
    note = _read_note(part)
    begun = (note.get("url"), note.get("sha256"))
    if _length(part) > source.size or begun != (source.url, source.sha256):
        part.unlink(missing_ok=True)


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(_note(part).read_bytes())
        if isinstance(note, dict):
            return note
    return {}
