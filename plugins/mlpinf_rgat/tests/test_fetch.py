"""Fetching the official parts, from a server on this machine."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from mlpinf_core import downloads
from mlpinf_core.downloads.ways import Patience
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.scratch import Scratch
from mlpinf_rgat import fetch as fetching
from mlpinf_rgat import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EDGES = ("paper__cites__paper/edge_index.npy", "paper__topic__fos/edge_index.npy")
CONTENT = {part: (part * 40_000).encode() for part in EDGES}
ONCE = Patience(timeout_s=10, tries=1, backoff_s=0)


class Server(http.server.ThreadingHTTPServer):
    """Serves ``CONTENT``, with ranges; breaks off after ``limit`` bytes of an answer."""

    limit: int | None = None
    asked: list[tuple[str, str | None]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        content = CONTENT.get(self.path.removeprefix("/processed/"))
        if content is None:
            self.send_error(404)
            return
        start = 0
        wanted = self.headers.get("Range")
        if wanted:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if body:
            self.wfile.write(content[start:][: self.server.limit])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.asked = []
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def fetch(server: Server, folder: Path, parts: tuple[str, ...] = EDGES) -> None:
    address = f"http://127.0.0.1:{server.server_address[1]}/processed"
    fetching.fetch(folder, parts, address=address, patience=ONCE)


def test_parts_are_fetched_and_their_digests_written_down(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    for part, content in CONTENT.items():
        assert (tmp_path / part).read_bytes() == content
    assert not list(tmp_path.rglob("*.part*"))
    fetching.verify(tmp_path, EDGES)


def test_a_fetch_that_broke_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.limit = 100_000
    with pytest.raises(PrerequisiteError, match="could not be fetched") as caught:
        fetch(server, tmp_path, EDGES[:1])
    assert "goes on where it stopped" in str(caught.value.remedy)
    assert not (tmp_path / EDGES[0]).exists()
    server.limit = None
    fetch(server, tmp_path, EDGES[:1])
    assert (tmp_path / EDGES[0]).read_bytes() == CONTENT[EDGES[0]]
    assert server.asked[-1][1] == "bytes=100000-"


def test_a_part_that_was_whole_when_the_fetch_was_stopped_is_not_asked_for_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "sha256_of", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, tmp_path, EDGES[:1])
    asked = list(server.asked)
    fetch(server, tmp_path, EDGES[:1])
    assert server.asked == asked
    assert (tmp_path / EDGES[0]).read_bytes() == CONTENT[EDGES[0]]
    assert not list(tmp_path.rglob("*.part*"))


def test_the_command_lays_the_parts_out_as_the_official_scripts_look_for_them(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{server.server_address[1]}/processed"
    monkeypatch.setattr(fetching.fetch, "__kwdefaults__", {"address": address, "patience": ONCE})
    monkeypatch.setattr("sys.argv", ["fetch", "--out", str(tmp_path), "--only", *EDGES])
    assert fetching.main() == 0
    for part, content in CONTENT.items():
        assert (tmp_path / "full/processed" / part).read_bytes() == content


def test_parts_that_are_there_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    asked = len(server.asked)
    fetch(server, tmp_path)
    assert len(server.asked) == asked


def test_a_part_that_changed_after_it_was_fetched_is_found(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    with (tmp_path / EDGES[1]).open("r+b") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=f"{EDGES[1]} has sha256"):
        fetching.verify(tmp_path, EDGES)


def test_a_part_that_was_put_there_by_hand_has_no_digest(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fos").mkdir()
    (tmp_path / "fos/node_feat.npy").write_bytes(b"x")
    with pytest.raises(
        PrerequisiteError, match=r"no digest was written down of fos/node_feat\.npy"
    ):
        fetching.verify(tmp_path, ["fos/node_feat.npy"])


def test_a_part_that_the_server_does_not_have_is_one_clear_error(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(PrerequisiteError, match=r"the server does not tell of fos/gone\.npy") as it:
        fetch(server, tmp_path, ("fos/gone.npy",))
    assert "benchmark.data_path" in str(it.value.remedy)


def test_a_graph_that_the_disk_cannot_hold_is_refused_before_a_byte_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = fetching.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(PrerequisiteError, match=r"need 2\.6 MB, and 1\.0 kB are free"):
        fetch(server, tmp_path)
    assert server.asked == []


def test_features_of_another_graph_are_refused_by_their_size(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = layout.feature_part("conference")
    monkeypatch.setitem(CONTENT, part, b"x" * 1000)
    with pytest.raises(IntegrityError, match="has 1000 bytes, and the graph's has 18624512"):
        fetch(server, tmp_path, (part,))


def test_the_parts_add_up_to_what_the_benchmark_is_said_to_take() -> None:
    parts = layout.parts(2983)
    assert len(parts) == 13
    assert sum(layout.FULL_EDGES.values()) == 5_812_005_639  # as the publishers count them
    assert 2.2e12 < sum(source.size for source in layout.sources()) < 2.35e12


def test_what_is_fetched_here_is_what_the_scratch_space_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(tmp_path))
    address = f"http://127.0.0.1:{server.server_address[1]}/processed"
    monkeypatch.setattr(fetching.fetch, "__kwdefaults__", {"address": address, "patience": ONCE})
    monkeypatch.setattr("sys.argv", ["fetch", "--only", *EDGES])
    assert fetching.main() == 0
    there = {
        source.name
        for source in layout.sources()
        if downloads.status(source, Scratch(tmp_path)).state is downloads.SourceState.OK
    }
    assert there == {f"igbh/full/processed/{part}" for part in EDGES}
