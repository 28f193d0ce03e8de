"""Fetching a file over HTTP: resumed where it stopped, retried where that can help, checked."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from mlpinf_core import __name__ as agent
from mlpinf_core.benchmark import Source
from mlpinf_core.downloads.ways import Patience, Progress, WayFailedError, accept
from mlpinf_core.hashing import write_atomically

if TYPE_CHECKING:
    from http.client import HTTPResponse

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_WORTH_A_FRESH_COUNT = 1 << 20
_LONGEST_WAIT_S = 30.0
_CAN_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CREDENTIALS = "Authorization"


class _TransientError(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def fetch_from_web(
    source: Source,
    part: Path,
    patience: Patience,
    progress: Progress,
    *,
    headers: Mapping[str, str] | None = None,
    pinned: bool = False,
) -> None:
    """Bring the source's file to ``part``, verified.

    The bytes go straight into ``part``, and a note beside it (``<part>.json``) says which file they
    are the beginning of, so that an interrupted or killed fetch is continued by the next one.

    Args:
        source: one with a ``url``.
        part: where the file grows; it stays when fetching fails, unless its content is wrong.
        patience: time-outs and retries.
        progress: told the bytes that are there.
        headers: what the server is told besides; ``Authorization`` is for the address's own host
            and is not sent to another that it redirects to.
        pinned: whether the address never leads to other bytes (it names a commit), from whichever
            mirror they come. What is begun is then continued whatever the server says of versions.

    Raises:
        WayFailedError: the server has another file, or none, or does not answer.
        OSError: ``part`` cannot be written.
    """
    url = source.url or ""
    if not url.startswith(("http://", "https://")):
        raise WayFailedError(f"{url} is not an http or https address")
    download = _Download(source, url, part, patience, progress, headers or {}, pinned)
    download.drop_another_files_part()
    resumed = download.grow()
    try:
        accept(part, source)
    except WayFailedError:
        if not resumed:
            raise
        # The server may have changed the file between the two halves; whole, it may be right.
        log.warning("%s was resumed and is wrong; fetching it anew", source.name)
        download.grow()
        accept(part, source)
    note_of(part).unlink(missing_ok=True)


def grow_from_web(source: Source, part: Path, patience: Patience, progress: Progress) -> None:
    """Bring a file to ``part`` whose checksum nobody has published: only its size is checked.

    Otherwise as :func:`fetch_from_web`; the source's ``sha256`` is not looked at. The note stays,
    because the part is the caller's to read and to name: once it has its own name, remove
    :func:`note_of` it. Until then a call after an interruption finds a whole part, and asks for
    nothing.
    """
    download = _Download(source, source.url or "", part, patience, progress, {}, pinned=False)
    download.drop_another_files_part()
    download.grow()


def note_of(part: Path) -> Path:
    """The note beside a part that says which file it is the beginning of."""
    return part.with_name(f"{part.name}.json")


@attrs.frozen
class _Download:
    """A file on its way; the arguments of :func:`fetch_from_web`."""

    source: Source
    url: str
    part: Path
    patience: Patience
    progress: Progress
    headers: Mapping[str, str]
    pinned: bool

    def grow(self) -> bool:
        """Make attempts until the part is whole; whether it was there in part before."""
        resumed = self._length > 0
        failures = 0
        while (before := self._length) != self.source.size:
            try:
                self._attempt()
            except _TransientError as error:
                if self._length - before >= _WORTH_A_FRESH_COUNT:
                    failures = 0  # over a bad line: not given up while it advances
                failures += 1
                if failures >= self.patience.tries:
                    raise WayFailedError(f"{error} ({failures} attempts)") from error
                wait = max(self.patience.backoff_s * 2 ** (failures - 1), error.wait_s)
                log.info("%s: %s; trying again in %.1f s", self.url, error, wait)
                time.sleep(wait)
            resumed = resumed or before > 0
        return resumed

    def drop_another_files_part(self) -> None:
        note = self._note()
        same = note.get("sha256") == self.source.sha256
        same = same and (self.pinned or note.get("url") == self.url)
        if not same or self._length > self.source.size:
            self.part.unlink(missing_ok=True)

    def _attempt(self) -> None:
        timeout = self.patience.timeout_s
        try:
            with urllib.request.build_opener(_Redirects).open(
                self._request(), timeout=timeout
            ) as answer:
                self._receive(answer)
        except urllib.error.HTTPError as error:
            with error:
                reason = f"the server answered {error.code} {error.reason}"
                if error.code == 416:  # it has fewer bytes than are here: these are not its file's
                    self.part.unlink(missing_ok=True)
                    raise _TransientError(reason) from error
                if error.code in _CAN_PASS:
                    raise _TransientError(reason, wait_s=_retry_after(error.headers)) from error
                raise WayFailedError(reason, status=error.code) from error
        except urllib.error.URLError as error:
            cause = error.reason
            if isinstance(cause, TimeoutError):
                raise _TransientError(f"no answer within {timeout:g} s") from error
            if isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
                raise _TransientError(f"the connection broke ({cause})") from error
            what = (
                "its certificate is not trusted" if isinstance(cause, ssl.SSLError) else "no route"
            )
            if isinstance(cause, ConnectionRefusedError):
                what = "the server does not accept connections"
            raise WayFailedError(f"{what} ({cause})") from error
        except TimeoutError as error:
            raise _TransientError(f"no byte arrived for {timeout:g} s") from error
        except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
            raise _TransientError(f"the connection broke ({error!r})") from error

    def _request(self) -> urllib.request.Request:
        own = {name.title(): value for name, value in self.headers.items()}
        headers = {"User-Agent": agent, **own, "Accept-Encoding": "identity"}
        credentials = headers.pop(_CREDENTIALS, None)
        if self._length:
            headers["Range"] = f"bytes={self._length}-"
            if validator := self._note().get("validator"):
                headers["If-Range"] = validator
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - http(s), checked
        if credentials is not None:
            request.add_unredirected_header(_CREDENTIALS, credentials)
        return request

    def _receive(self, answer: HTTPResponse) -> None:
        size, part = self.source.size, self.part
        have = self._length
        validator = None if self.pinned else _validator(answer)
        if answer.status == 206:
            start, total = _content_range(answer)
            if start != have or validator != self._note().get("validator"):
                part.unlink(missing_ok=True)
                raise _TransientError("the server continued another file than the one begun")
        else:  # it does not know ranges, or the file is not the one begun: from the start
            have = 0
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
        if total not in (None, size):
            part.unlink(missing_ok=True)
            raise WayFailedError(
                f"the server's file has {total} bytes instead of {size}", wrong=True
            )
        if have == 0:
            note = {"url": self.url, "sha256": self.source.sha256, "validator": validator}
            part.unlink(missing_ok=True)
            write_atomically(note_of(part), json.dumps(note).encode())
        # Unbuffered: what has arrived is in the file whenever the process ends.
        with part.open("ab", buffering=0) as file:
            self.progress(have)
            while chunk := answer.read1(_CHUNK):
                _write_all(file, chunk)
                have += len(chunk)
                if have > size:
                    part.unlink(missing_ok=True)
                    raise WayFailedError(
                        f"the server sends more than the {size} bytes expected", wrong=True
                    )
                self.progress(have)
            os.fsync(file.fileno())
        if have < size:
            raise _TransientError(f"the connection closed after {have} of {size} bytes")

    @property
    def _length(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _note(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            note = json.loads(note_of(self.part).read_bytes())
            if isinstance(note, dict):
                return note
        return {}


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; credentials go along to the same host only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        credentials = req.unredirected_hdrs.get(_CREDENTIALS)
        if request and credentials is not None and _origin(newurl) == _origin(req.full_url):
            request.add_unredirected_header(_CREDENTIALS, credentials)
        return request


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


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
