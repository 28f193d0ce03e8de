"""Fetching over HTTP from a real server that misbehaves in the ways that servers do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import mlpinf_core
from mlpinf_core.benchmark import Source
from mlpinf_core.downloads import Patience, SourceState, fetch, status
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = str(Path(mlpinf_core.__file__).parents[1])
CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
HALF = len(CONTENT) // 2
QUICK = Patience(timeout_s=20, tries=3, backoff_s=0)


@attrs.define
class Site:
    """What the server has, how it errs (one word a request, then no more), what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    ranges: bool = True
    faults: list[str] = attrs.field(factory=list)
    asked: list[str | None] = attrs.field(factory=list)
    url: str = ""
    halfway: threading.Event = attrs.field(factory=threading.Event)
    go_on: threading.Event = attrs.field(factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass

    def do_GET(self) -> None:
        site = self.site
        site.asked.append(self.headers["Range"])
        fault = site.faults.pop(0) if site.faults else ""
        if fault.isdecimal():
            self.send_error(int(fault))
            return
        if fault == "hang up":
            return
        if fault == "be silent":
            site.go_on.wait(60)
            return
        body, start = site.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        same = self.headers["If-Range"] in (None, site.etag)
        if wanted and site.ranges and same:
            start = int(wanted[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if site.etag:
            self.send_header("ETag", site.etag)
        if fault != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if fault == "stall":
            self.wfile.write(body[start:HALF])
            site.halfway.set()
            site.go_on.wait(60)
            return
        end = HALF if fault == "truncate" else len(body)
        with contextlib.suppress(ConnectionError):  # the client may have seen enough
            self.wfile.write(body[start:end])


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    handler = type("ThisHandler", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}/file"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.go_on.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch")


def source_at(url: str) -> Source:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Source("file.bin", "models", len(CONTENT), digest, "Apache-2.0", url=url)


def get(site: Site, scratch: Scratch, **more: Any) -> Path:
    return fetch(source_at(site.url), scratch, **{"patience": QUICK, **more})


def visible(scratch: Scratch) -> list[str]:
    return sorted(p.name for p in scratch.models.iterdir() if not p.name.startswith("."))


def test_a_file_is_fetched_once_and_then_found(site: Site, scratch: Scratch) -> None:
    source = source_at(site.url)
    assert status(source, scratch).state is SourceState.MISSING
    path = get(site, scratch)
    assert path == scratch.models / "file.bin"
    assert path.read_bytes() == CONTENT
    assert visible(scratch) == ["file.bin"]
    assert get(site, scratch) == path
    assert site.asked == [None]
    assert status(source, scratch).state is SourceState.OK


def test_progress_ends_with_all_the_bytes_and_never_goes_back(site: Site, scratch: Scratch) -> None:
    told: list[tuple[int, int]] = []
    get(site, scratch, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert {total for _, total in told} == {len(CONTENT)}


def test_a_truncated_answer_is_continued_where_it_stopped(site: Site, scratch: Scratch) -> None:
    site.faults = ["truncate"]
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("fault", ["503", "429", "500", "hang up"])
def test_a_failure_that_can_pass_is_tried_again(site: Site, scratch: Scratch, fault: str) -> None:
    site.faults = [fault, fault]
    assert get(site, scratch).read_bytes() == CONTENT
    assert len(site.asked) == 3


def test_a_failure_that_does_not_pass_is_given_up_with_its_reason(
    site: Site, scratch: Scratch
) -> None:
    site.faults = ["503"] * 9
    with pytest.raises(PrerequisiteError, match=r"503 .*\(3 attempts\)"):
        get(site, scratch)
    assert len(site.asked) == 3


def test_a_failure_that_cannot_pass_is_not_tried_again(site: Site, scratch: Scratch) -> None:
    site.faults = ["404"]
    with pytest.raises(PrerequisiteError, match="404 Not Found") as caught:
        get(site, scratch, remedy="set model.path to where it is")
    assert len(site.asked) == 1
    assert site.url in caught.value.what
    assert caught.value.where == str(scratch.models / "file.bin")
    assert caught.value.remedy == (
        f"put it at {scratch.models / 'file.bin'}, or set model.path to where it is"
    )


def test_a_stalled_connection_is_left_and_what_came_is_kept(site: Site, scratch: Scratch) -> None:
    site.faults = ["stall"]
    assert get(site, scratch, patience=Patience(0.5, 3, 0)).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={HALF}-"]


def test_a_server_that_never_answers_is_given_up(site: Site, scratch: Scratch) -> None:
    site.faults = ["be silent"] * 2
    with pytest.raises(PrerequisiteError, match=r"no byte arrived for 0\.2 s"):
        get(site, scratch, patience=Patience(0.2, 2, 0))


def test_wrong_content_is_an_error_with_both_checksums_and_leaves_no_part(
    site: Site, scratch: Scratch
) -> None:
    site.content = CONTENT[::-1]
    with pytest.raises(IntegrityError) as caught:
        get(site, scratch)
    assert hashlib.sha256(CONTENT).hexdigest() in caught.value.what
    assert hashlib.sha256(CONTENT[::-1]).hexdigest() in caught.value.what
    assert len(site.asked) == 1
    assert not (scratch.models / "file.bin.part").exists()
    assert not (scratch.models / "file.bin").exists()


@pytest.mark.parametrize("content", [b"<html>please log in</html>", CONTENT + b"!"])
def test_a_file_of_another_length_is_refused_before_it_is_fetched(
    site: Site, scratch: Scratch, content: bytes
) -> None:
    site.content = content
    with pytest.raises(IntegrityError, match=f"has {len(content)} bytes instead of 1024000"):
        get(site, scratch)
    assert not (scratch.models / "file.bin.part").exists()


def test_an_answer_without_a_length_is_cut_off_where_the_file_should_end(
    site: Site, scratch: Scratch
) -> None:
    site.content, site.faults = CONTENT * 20, ["no length"]
    with pytest.raises(IntegrityError, match="more than the 1024000 bytes"):
        get(site, scratch)
    assert not (scratch.models / "file.bin.part").exists()


def test_an_answer_without_a_length_is_good_when_it_is_whole(site: Site, scratch: Scratch) -> None:
    site.faults = ["no length"]
    assert get(site, scratch).read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_for_the_whole_again(site: Site, scratch: Scratch) -> None:
    site.ranges, site.faults = False, ["truncate"]
    assert get(site, scratch).read_bytes() == CONTENT
    assert len(site.asked) == 2


def give_up_halfway(site: Site, scratch: Scratch) -> None:
    site.faults = ["truncate"]
    with pytest.raises(PrerequisiteError, match=f"closed after {HALF} of 1024000 bytes"):
        get(site, scratch, patience=Patience(20, 1, 0))
    assert visible(scratch) == ["file.bin.part", "file.bin.part.json"]


def test_an_interrupted_fetch_is_seen_and_continued_by_the_next(
    site: Site, scratch: Scratch
) -> None:
    give_up_halfway(site, scratch)
    seen = status(source_at(site.url), scratch)
    assert (seen.state, seen.present) == (SourceState.PARTIAL, HALF)
    assert seen.why == "512.0 kB of 1.0 MB are there"
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={HALF}-"]
    assert visible(scratch) == ["file.bin"]


def test_a_part_of_another_version_is_not_continued(site: Site, scratch: Scratch) -> None:
    site.content, site.etag = CONTENT[::-1], '"old"'
    give_up_halfway(site, scratch)
    site.content, site.etag = CONTENT, '"new"'
    assert get(site, scratch).read_bytes() == CONTENT


def test_a_part_of_another_version_is_noticed_at_the_end_when_the_server_names_no_versions(
    site: Site, scratch: Scratch, caplog: pytest.LogCaptureFixture
) -> None:
    site.content, site.etag = CONTENT[::-1], None
    give_up_halfway(site, scratch)
    site.content = CONTENT
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={HALF}-", None]
    assert "was resumed and is wrong; fetching it anew" in caplog.text


def test_a_part_of_another_file_is_not_continued(site: Site, scratch: Scratch) -> None:
    give_up_halfway(site, scratch)
    note = scratch.models / "file.bin.part.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "0" * 64}))
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, None]


@pytest.mark.parametrize("note", [None, "", "[]", "{}"])
def test_a_part_without_a_good_note_is_not_continued(
    site: Site, scratch: Scratch, note: str | None
) -> None:
    give_up_halfway(site, scratch)
    path = scratch.models / "file.bin.part.json"
    path.unlink() if note is None else path.write_text(note)
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, None]


def test_a_part_longer_than_what_the_server_has_is_dropped(site: Site, scratch: Scratch) -> None:
    give_up_halfway(site, scratch)
    site.faults = ["416"]
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={HALF}-", None]


def test_a_whole_part_is_only_checked(site: Site, scratch: Scratch) -> None:
    give_up_halfway(site, scratch)
    (scratch.models / "file.bin.part").write_bytes(CONTENT)
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None]


def test_a_server_that_is_not_there_is_said_at_once(scratch: Scratch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
    with pytest.raises(PrerequisiteError, match="the server does not accept connections"):
        fetch(source_at(url), scratch, patience=QUICK)


def test_a_name_that_leads_nowhere_is_said_at_once(scratch: Scratch) -> None:
    with pytest.raises(PrerequisiteError, match="no route"):
        fetch(source_at("http://no-such-host.invalid/"), scratch, patience=QUICK)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "nonsense"])
def test_only_web_addresses_are_opened(scratch: Scratch, url: str) -> None:
    with pytest.raises(PrerequisiteError, match="is not an http or https address"):
        fetch(source_at(url), scratch, patience=QUICK)


# ---- other processes

CHILD = """
import resource, sys
from pathlib import Path
from mlpinf_core.benchmark import Source
from mlpinf_core.downloads import fetch
from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.scratch import Scratch

url, size, sha256, root, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
source = Source("file.bin", "models", int(size), sha256, "Apache-2.0", url=url)
try:
    print(fetch(source, Scratch(Path(root))), flush=True)
except PrerequisiteError as error:
    print(error, flush=True)
"""


def child(site: Site, scratch: Scratch, limit: int = 0) -> subprocess.Popen[str]:
    source = source_at(site.url)
    arguments = [source.url or "", str(source.size), source.sha256, str(scratch.root), str(limit)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )


def wait_for_half(site: Site, scratch: Scratch) -> None:
    assert site.halfway.wait(60)
    part = scratch.models / "file.bin.part"
    pause = threading.Event()
    for _ in range(2000):
        if part.exists() and part.stat().st_size == HALF:
            return
        pause.wait(0.01)
    raise AssertionError("the part did not grow")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_fetch_that_is_stopped_leaves_a_part_that_the_next_continues(
    site: Site, scratch: Scratch, how: signal.Signals
) -> None:
    site.faults = ["stall"]
    with child(site, scratch) as process:
        wait_for_half(site, scratch)
        process.send_signal(how)
        process.communicate(timeout=60)
    assert visible(scratch) == ["file.bin.part", "file.bin.part.json"]
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, f"bytes={HALF}-"]


def test_two_processes_at_once_fetch_once(site: Site, scratch: Scratch) -> None:
    site.faults = ["stall"]
    with child(site, scratch) as first:
        wait_for_half(site, scratch)
        with child(site, scratch) as second:
            site.go_on.set()  # the first one's connection closes, and it asks for the rest
            told = {process.communicate(timeout=60)[0].strip() for process in (first, second)}
    assert told == {str(scratch.models / "file.bin")}
    assert site.asked == [None, f"bytes={HALF}-"]


def test_no_room_in_the_middle_is_one_clear_error_and_the_part_can_be_continued(
    site: Site, scratch: Scratch
) -> None:
    with child(site, scratch, limit=300_000) as process:
        told, _ = process.communicate(timeout=60)
    assert "there is no room to write" in told
    assert "remedy: free some space" in told
    assert get(site, scratch).read_bytes() == CONTENT
    assert site.asked == [None, "bytes=300000-"]


def test_no_room_at_all_is_said_before_anything_is_asked(
    site: Site, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scratch, "free_bytes", lambda self: 1000)
    with pytest.raises(PrerequisiteError, match=r"no room \(1.0 MB needed, 1.0 kB free\)") as told:
        get(site, scratch)
    assert "MLPERF_SCRATCH_PATH" in (told.value.remedy or "")
    assert site.asked == []
