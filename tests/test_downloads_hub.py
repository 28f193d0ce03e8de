"""Fetching folders with the hub's own client, from a server here that speaks what it asks for."""

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
from urllib.parse import unquote, urlsplit

import attrs
import pytest
from click.testing import CliRunner

import mlpinf_core
from mlpinf_core.benchmark import FolderSource
from mlpinf_core.cli import cli
from mlpinf_core.downloads import SourceState, fetch, lacking, status
from mlpinf_core.downloads.folder import MANIFEST_NAME
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import PluginPath

pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")

ROOT = str(Path(mlpinf_core.__file__).parents[1])
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = bytes(range(256)) * 4000
FILES = {
    "config.json": b'{"layers": 2}',
    "model-1.safetensors": LARGE,
    "model-2.safetensors": LARGE[::-1],
    "tokenizer/vocab.txt": b"a\nb\n",
    "unwanted.bin": b"of another framework",
}
LARGE_2 = hashlib.sha256(FILES["model-2.safetensors"]).hexdigest()
WANTED = [name for name in FILES if name != "unwanted.bin"]
SOURCE = FolderSource(
    name="tiny",
    kind="models",
    size=2_000_000,
    licence="MIT",
    repository="owner/tiny",
    revision=COMMIT,
    requires=("config.json", "*.safetensors", "tokenizer/vocab.txt"),
    patterns=("*.json", "*.safetensors", "tokenizer/*"),
    setting="benchmark.model_path",
)


def blob_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@attrs.define
class Hub:
    """What the repository lists and holds, how the server errs with a path, what it was asked."""

    files: dict[str, bytes] = attrs.field(factory=lambda: dict(FILES))
    listed: dict[str, bytes] = attrs.field(factory=lambda: dict(FILES))
    prefix: str = ""
    refused: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    """Path, or "" for the listing, to a status and the hub's code of an error."""
    stalled: str | None = None
    asked: list[str] = attrs.field(factory=list)
    ranges: list[str | None] = attrs.field(factory=list)
    """Of the large files that were asked for."""
    tokens: set[str | None] = attrs.field(factory=set)
    renamed: bool = False
    """Whether large files are at another address of the same host."""
    elsewhere: str = ""
    """Another host, which the hub sends to for large files."""
    tokens_elsewhere: set[str | None] = attrs.field(factory=set)
    versions: int = 0
    """Rises with every answer where the hub is known to change what it says of a version."""
    url: str = ""
    halfway: threading.Event = attrs.field(factory=threading.Event)
    go_on: threading.Event = attrs.field(factory=threading.Event)

    def tree(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = [
            {"type": "directory", "path": "tokenizer", "oid": "0" * 40, "size": 0}
        ]
        for path, content in self.listed.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob_sha1(content)}
            if path.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["oid"] = "1" * 40  # of the pointer
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
            entries.append(entry)
        return entries


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        hub = self.hub
        here = self.headers["Host"] == urlsplit(hub.url).netloc
        path = unquote(urlsplit(self.path).path)
        if "owner/tiny" in path:  # the client asks some things about itself
            (hub.tokens if here else hub.tokens_elsewhere).add(self.headers["Authorization"])
        tree = f"/api/{hub.prefix or 'models/'}owner/tiny/tree/{COMMIT}"
        resolve = f"/{hub.prefix}owner/tiny/resolve/{COMMIT}/"
        if path == tree:
            self.listing()
        elif path.endswith(".safetensors") and here and hub.elsewhere:
            self.redirect(f"{hub.elsewhere}{self.path}?signature=1")
        elif path.endswith(".safetensors") and hub.renamed and "?" not in self.path:
            self.redirect(f"{self.path}?renamed=1")
        elif path.startswith(resolve):
            self.file(path.removeprefix(resolve), body=body)
        else:
            self.refuse(404, "RevisionNotFound" if "owner/tiny" in path else "RepoNotFound")

    def redirect(self, address: str) -> None:
        self.send_response(307)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def listing(self) -> None:
        self.hub.asked.append("listing")
        if "" in self.hub.refused:
            self.refuse(*self.hub.refused[""])
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(self.hub.tree()).encode())

    def file(self, name: str, *, body: bool) -> None:
        hub = self.hub
        if name in hub.refused:
            self.refuse(*hub.refused[name])
            return
        if name not in hub.files:
            self.refuse(404, "EntryNotFound")
            return
        content = hub.files[name]
        if body:
            hub.asked.append(name)
        if body and name.endswith(".safetensors"):
            hub.ranges.append(self.headers["Range"])
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if hub.versions:
            hub.versions += 1
            etag = f'"{hub.versions}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        self.send_response(206 if wanted else 200)
        if wanted:
            start, total = int(wanted[1]), len(content)
            content = content[start:]
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if name == hub.stalled:
            hub.stalled = None
            half = len(content) // 2
            self.wfile.write(content[:half])
            hub.halfway.set()
            hub.go_on.wait(60)
            content = content[half:]
        with contextlib.suppress(ConnectionError):  # the client may be gone
            self.wfile.write(content)

    def refuse(self, code: int, error: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub()
    handler = type("ThisHandler", (Handler,), {"hub": hub})
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-home"))
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.go_on.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own waits between its attempts."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch")


def contents(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".")}


def visible(scratch: Scratch) -> list[str]:
    return sorted(p.name for p in scratch.models.iterdir() if not p.name.startswith("."))


def right() -> dict[str, bytes]:
    return {name: FILES[name] for name in WANTED}


def test_a_folder_is_fetched_with_the_files_that_match_and_no_other(
    hub: Hub, scratch: Scratch
) -> None:
    assert status(SOURCE, scratch).state is SourceState.MISSING
    told: list[tuple[int, int]] = []
    path = fetch(SOURCE, scratch, progress=lambda *bytes_: told.append(bytes_))
    assert path == scratch.models / "tiny"
    assert contents(path) == right()
    assert sorted(p.name for p in path.iterdir() if p.name.startswith(".")) == [
        ".hashes.json",
        ".manifest.json",
    ]
    assert visible(scratch) == ["tiny"]
    total = sum(len(FILES[name]) for name in WANTED)
    assert told == sorted(told)
    assert told[-1] == (total, total)


def test_a_fetched_folder_is_found_without_a_network_and_without_reading_it_again(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(SOURCE, scratch)
    asked = list(hub.asked)
    hashed: list[Path] = []

    def note(path: Path) -> str:
        hashed.append(path)
        return "something else"

    monkeypatch.setattr("mlpinf_core.hashing.sha256_of", note)
    assert status(SOURCE, scratch).state is SourceState.OK
    assert fetch(SOURCE, scratch, offline=True) == path
    assert hub.asked == asked
    assert hashed == []


def test_a_data_set_is_fetched_from_where_the_hub_keeps_data_sets(
    hub: Hub, scratch: Scratch
) -> None:
    hub.prefix = "datasets/"
    source = attrs.evolve(SOURCE, repository="datasets/owner/tiny", kind="data")
    assert contents(fetch(source, scratch)) == right()


def test_the_credentials_are_those_of_the_environment(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(SOURCE, scratch)
    assert hub.tokens == {"Bearer hf_secret"}


def test_credentials_are_not_sent_to_the_host_that_large_files_come_from(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.elsewhere = hub.url.replace("127.0.0.1", "localhost")
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.tokens == {"Bearer hf_secret"}
    assert hub.tokens_elsewhere == {None}


def test_credentials_stay_where_the_same_host_sends_elsewhere_on_itself(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.renamed = True
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.tokens == {"Bearer hf_secret"}


@pytest.mark.parametrize("name", ["config.json", "model-1.safetensors"])
@pytest.mark.parametrize("wrong", [LARGE[:300] + b"!" + LARGE[301:], b'{"layers": 3}'])
def test_wrong_bytes_are_an_error_with_both_figures_and_are_fetched_again(
    hub: Hub, scratch: Scratch, name: str, wrong: bytes
) -> None:
    hub.files[name] = wrong
    with pytest.raises(IntegrityError, match=rf"{name}.* has .* instead of") as caught:
        fetch(SOURCE, scratch)
    assert caught.value.where == str(scratch.models / "tiny")
    assert visible(scratch) == ["tiny.part"]
    before = WANTED[: WANTED.index(name)]
    assert status(SOURCE, scratch).present == sum(len(FILES[n]) for n in before)
    hub.files[name] = FILES[name]
    hub.asked.clear()
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.asked == ["listing", *(n for n in WANTED if n not in before)]


def test_a_file_that_the_hub_lists_and_does_not_have_is_named(hub: Hub, scratch: Scratch) -> None:
    del hub.files["model-2.safetensors"]
    with pytest.raises(PrerequisiteError, match=r"model-2\.safetensors: the hub answered 404"):
        fetch(SOURCE, scratch)
    assert visible(scratch) == ["tiny.part"]


def test_a_repository_without_what_is_required_is_said_before_anything_is_fetched(
    hub: Hub, scratch: Scratch
) -> None:
    hub.listed = {"sub/config.json": b"{}", "tokenizer/vocab.txt": b""}
    with pytest.raises(PrerequisiteError, match=r"has no config\.json, \*\.safetensors"):
        fetch(SOURCE, scratch)
    assert hub.asked == ["listing"]
    assert visible(scratch) == []


def test_a_name_that_leads_out_of_the_folder_is_refused(hub: Hub, scratch: Scratch) -> None:
    hub.listed["tokenizer/../../up.json"] = b"{}"
    with pytest.raises(PrerequisiteError, match="names a file outside the folder"):
        fetch(SOURCE, scratch)


@pytest.mark.parametrize(
    ("path", "code", "error"),
    [
        ("", 401, "RepoNotFound"),
        ("", 403, "GatedRepo"),
        ("config.json", 401, "GatedRepo"),
        ("config.json", 403, "GatedRepo"),
        ("config.json", 403, ""),
        ("model-1.safetensors", 401, "GatedRepo"),
        ("model-1.safetensors", 403, "GatedRepo"),
    ],
)
def test_a_gated_repository_says_what_to_accept_and_where_to_put_the_folder(
    hub: Hub, scratch: Scratch, path: str, code: int, error: str
) -> None:
    hub.refused[path] = (code, error)
    gated = attrs.evolve(SOURCE, gated="accept the terms at https://example.org/tiny")
    with pytest.raises(PrerequisiteError) as caught:
        fetch(gated, scratch, remedy=gated.hint)
    assert f"access was refused ({code}): accept the terms at https://example.org/tiny" in str(
        caught.value
    )
    assert "HF_TOKEN" in str(caught.value)
    assert caught.value.remedy == (
        f"put it at {scratch.models / 'tiny'}, or set benchmark.model_path to where you have it"
    )


def test_a_gated_repository_is_fetched_when_the_hub_lets_the_user_in(
    hub: Hub, scratch: Scratch
) -> None:
    gated = attrs.evolve(SOURCE, gated="accept the terms")
    assert contents(fetch(gated, scratch)) == right()


def test_a_repository_that_refuses_unexpectedly_is_said_where_to_look(
    hub: Hub, scratch: Scratch
) -> None:
    hub.refused[""] = (401, "RepoNotFound")
    with pytest.raises(PrerequisiteError, match=r"https://huggingface\.co/owner/tiny says"):
        fetch(SOURCE, scratch)


def test_a_revision_that_is_not_there_is_said(hub: Hub, scratch: Scratch) -> None:
    other = attrs.evolve(SOURCE, revision="f" * 40)
    with pytest.raises(PrerequisiteError, match=f"has no revision {'f' * 40}"):
        fetch(other, scratch)


@pytest.mark.usefixtures("no_waiting")
def test_a_hub_that_is_not_there_is_said_and_leaves_a_folder_in_its_place_alone(
    scratch: Scratch, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    begun = scratch.models / "tiny"
    begun.mkdir(parents=True)
    (begun / "config.json").write_bytes(FILES["config.json"])
    with pytest.raises(PrerequisiteError, match=r"owner/tiny at 0123456789ab: .*refused"):
        fetch(SOURCE, scratch)
    assert visible(scratch) == ["tiny"]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("path", ["", "config.json"])
def test_a_hub_that_is_ill_is_said(hub: Hub, scratch: Scratch, path: str) -> None:
    hub.refused[path] = (500, "")
    with pytest.raises(PrerequisiteError, match="the hub answered 500 Internal Server Error"):
        fetch(SOURCE, scratch)


def test_offline_nothing_is_asked(hub: Hub, scratch: Scratch) -> None:
    with pytest.raises(PrerequisiteError, match="owner/tiny at 0123456789ab: not tried"):
        fetch(SOURCE, scratch, offline=True)
    assert hub.asked == []
    assert not scratch.root.exists()


def test_too_small_a_disk_is_told_by_the_hubs_own_sizes_before_anything_is_fetched(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scratch, "free_bytes", lambda self: 1_500_000)
    small = attrs.evolve(SOURCE, size=1000)
    with pytest.raises(PrerequisiteError, match=r"no room \(2.0 MB needed, 1.5 MB free\)") as told:
        fetch(small, scratch)
    assert "MLPERF_SCRATCH_PATH" in (told.value.remedy or "")
    assert hub.asked == ["listing"]


def test_what_is_there_already_needs_no_more_room(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refused["model-2.safetensors"] = (404, "EntryNotFound")
    with pytest.raises(PrerequisiteError):
        fetch(SOURCE, scratch)
    hub.refused.clear()
    monkeypatch.setattr(Scratch, "free_bytes", lambda self: 1_500_000)
    assert contents(fetch(SOURCE, scratch)) == right()


# ---- folders that are there


def test_a_damaged_file_is_told_and_only_that_one_is_fetched_again(
    hub: Hub, scratch: Scratch, caplog: pytest.LogCaptureFixture
) -> None:
    path = fetch(SOURCE, scratch)
    (path / "model-1.safetensors").write_bytes(LARGE[:-1] + b"!")
    told = status(SOURCE, scratch)
    assert told.state is SourceState.WRONG
    assert "is damaged: model-1.safetensors has sha256" in (told.why or "")
    hub.asked.clear()
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.asked == ["listing", "model-1.safetensors"]
    assert "fetching it again" in caplog.text


def test_the_folder_of_another_revision_is_replaced(hub: Hub, scratch: Scratch) -> None:
    path = fetch(SOURCE, scratch)
    manifest = json.loads((path / MANIFEST_NAME).read_bytes())
    assert manifest["inputs"]["revision"] == COMMIT
    (path / "stale").mkdir()
    (path / "stale" / "old.json").write_text("{}")
    narrower = attrs.evolve(SOURCE, patterns=("*.json", "*.safetensors", "tokenizer/v*"))
    told = status(narrower, scratch)
    assert told.state is SourceState.WRONG
    assert "is another: patterns changed" in (told.why or "")
    assert contents(fetch(narrower, scratch)) == right()


def test_a_folder_that_somebody_put_there_need_only_have_what_is_required(
    hub: Hub, scratch: Scratch
) -> None:
    path = scratch.models / "tiny"
    for name in WANTED:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"mine")
    assert fetch(SOURCE, scratch) == path
    assert hub.asked == []
    (path / "tokenizer" / "vocab.txt").unlink()
    assert status(SOURCE, scratch).why == "lacks tokenizer/vocab.txt"
    assert contents(fetch(SOURCE, scratch)) == right()


def test_a_link_in_its_place_is_replaced_and_what_it_leads_to_is_let_be(
    hub: Hub, scratch: Scratch, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    scratch.ensure(scratch.models)
    (scratch.models / "tiny").symlink_to(mine)
    path = fetch(SOURCE, scratch)
    assert not path.is_symlink()
    assert contents(path) == right()
    assert contents(mine) == {"notes.txt": b"mine"}


def test_a_folder_that_the_user_gives_is_used_where_it_is(
    hub: Hub, scratch: Scratch, tmp_path: Path
) -> None:
    mine = fetch(SOURCE, Scratch(tmp_path / "other"))
    asked = list(hub.asked)
    assert fetch(SOURCE, scratch, local=mine) == mine
    assert status(SOURCE, scratch, local=mine).state is SourceState.OK
    assert hub.asked == asked


def test_a_folder_that_the_user_gives_is_refused_with_all_that_it_lacks(
    hub: Hub, scratch: Scratch, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    with pytest.raises(IntegrityError) as caught:
        fetch(SOURCE, scratch, local=mine)
    assert caught.value.what == (
        "the folder given for tiny lacks *.safetensors, tokenizer/vocab.txt"
    )
    assert caught.value.where == str(mine)
    assert status(SOURCE, scratch, local=mine).state is SourceState.WRONG
    with pytest.raises(PrerequisiteError, match="given for tiny is missing"):
        fetch(SOURCE, scratch, local=tmp_path / "nowhere")
    with pytest.raises(PrerequisiteError, match="given for tiny is not a folder"):
        fetch(SOURCE, scratch, local=mine / "config.json")
    assert hub.asked == []


def test_a_folder_whose_manifest_is_damaged_is_told(hub: Hub, scratch: Scratch) -> None:
    path = fetch(SOURCE, scratch)
    (path / MANIFEST_NAME).write_text("{")
    assert "manifest.json that cannot be used" in (status(SOURCE, scratch).why or "")
    hub.asked.clear()
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.asked == ["listing"]


def test_without_the_client_one_message_says_what_brings_it(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lacking(SOURCE) is None
    monkeypatch.setattr("mlpinf_core.downloads.is_installed", lambda module: False)
    assert lacking(SOURCE) == "mlpinf-core[hub]"
    with pytest.raises(PrerequisiteError, match="huggingface_hub is not installed") as caught:
        fetch(SOURCE, scratch)
    assert "pip install 'mlpinf-core[hub]'" in (caught.value.remedy or "")
    assert hub.asked == []


# ---- the command

PLUGIN = f"""
import attrs
from mlpinf_core import BackendInfo, Benchmark, BenchmarkRules, Limit, Variant, VariantSpec
from mlpinf_core import hookimpl
from {__name__} import SOURCE

@hookimpl
def benchmarks():
    source = attrs.evolve(SOURCE, setting=None)
    spec = VariantSpec("all of it", "engine", backend_sources={{"engine": (source,)}})
    rules = BenchmarkRules("foldered", 10, 10, accuracy={{"99": {{"score": Limit(lower=1.0)}}}})
    return [Benchmark("foldered", "needs a folder", {{Variant.FULL: spec}}, rules=rules)]

@hookimpl
def backends():
    return [BackendInfo("engine", ("foldered",), "one")]
"""


def test_the_command_fetches_a_folder_and_tells_where_it_is(
    hub: Hub, scratch: Scratch, plugin_path: PluginPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_path.write("foldered", PLUGIN)
    monkeypatch.setenv("MLPERF_SCRATCH_PATH", str(scratch.root))
    told = CliRunner().invoke(cli, ["fetch", "foldered", "--json"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    (file,) = json.loads(told.stdout)["files"]
    assert (file["name"], file["state"]) == ("tiny", "ok")
    assert contents(Path(file["path"])) == right()


# ---- other processes

CHILD = """
import json, resource, sys
from pathlib import Path
from mlpinf_core.benchmark import FolderSource
from mlpinf_core.downloads import fetch
from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.scratch import Scratch

source, root, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
given = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(source).items()}
try:
    print(fetch(FolderSource(**given), Scratch(Path(root))), flush=True)
except PrerequisiteError as error:
    print(error, flush=True)
"""


def child(scratch: Scratch, limit: int = 0) -> subprocess.Popen[str]:
    source = json.dumps(attrs.asdict(SOURCE))
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, source, str(scratch.root), str(limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_fetch_that_is_stopped_in_a_large_file_goes_on_where_it_stopped(
    hub: Hub,
    scratch: Scratch,
    how: signal.Signals,
    mirror: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.stalled = "model-2.safetensors"
    with child(scratch) as process:
        assert hub.halfway.wait(60)
        begun = scratch.models / "tiny.part" / ".begun" / LARGE_2
        while not begun.exists() or begun.stat().st_size < len(LARGE) // 2:
            assert process.poll() is None
        process.send_signal(how)
        process.communicate(timeout=60)
    assert visible(scratch) == ["tiny.part"]
    told = status(SOURCE, scratch)
    assert told.state is SourceState.PARTIAL
    assert told.present == len(FILES["config.json"]) + len(LARGE) + len(LARGE) // 2
    hub.asked.clear()
    hub.ranges.clear()
    if mirror:  # the same commit from elsewhere, which calls its versions otherwise
        hub.versions = 1
        monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("127.0.0.1", "localhost"))
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.asked == ["listing", "model-2.safetensors", "tokenizer/vocab.txt"]
    assert hub.ranges == [f"bytes={len(LARGE) // 2}-"]
    assert visible(scratch) == ["tiny"]


def test_only_what_is_still_to_be_fetched_of_a_file_needs_room(
    hub: Hub, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = scratch.models / "tiny.part" / ".begun" / LARGE_2
    begun.parent.mkdir(parents=True)
    begun.write_bytes(FILES["model-2.safetensors"][:900_000])
    note = {"url": "", "sha256": LARGE_2, "validator": None}
    begun.with_name(f"{LARGE_2}.json").write_text(json.dumps(note))
    monkeypatch.setattr(Scratch, "free_bytes", lambda self: 1_500_000)
    assert contents(fetch(SOURCE, scratch)) == right()
    assert hub.ranges == [None, "bytes=900000-"]


def test_what_a_killed_client_and_other_revisions_left_is_not_counted_and_is_removed(
    hub: Hub, scratch: Scratch
) -> None:
    part = scratch.models / "tiny.part"
    orphan = part / ".cache" / "huggingface" / "download" / "model.incomplete"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(LARGE)
    assert status(SOURCE, scratch).state is SourceState.MISSING
    old = part / ".begun" / ("f" * 64)
    old.parent.mkdir()
    old.write_bytes(LARGE)
    old.with_name(f"{old.name}.json").write_text("{}")
    hub.refused["config.json"] = (404, "EntryNotFound")  # so that nothing is completed
    with pytest.raises(PrerequisiteError):
        fetch(SOURCE, scratch)
    assert not orphan.exists()
    assert not list(old.parent.iterdir())


def test_two_processes_at_once_fetch_once(hub: Hub, scratch: Scratch) -> None:
    hub.stalled = "model-2.safetensors"
    with child(scratch) as first:
        assert hub.halfway.wait(60)
        with child(scratch) as second:
            hub.go_on.set()
            told = {process.communicate(timeout=60)[0].strip() for process in (first, second)}
    assert told == {str(scratch.models / "tiny")}
    assert hub.asked == ["listing", *WANTED]


def test_no_room_in_the_middle_is_one_clear_error_and_can_be_continued(
    hub: Hub, scratch: Scratch
) -> None:
    with child(scratch, limit=300_000) as process:
        told, _ = process.communicate(timeout=60)
    assert "there is no room to write" in told
    assert "remedy: free some space" in told
    assert visible(scratch) == ["tiny.part"]
    assert contents(fetch(SOURCE, scratch)) == right()


def test_no_client_is_imported_before_something_is_fetched() -> None:
    script = "import sys, mlpinf_core.downloads; print('huggingface_hub' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "False"
