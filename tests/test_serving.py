"""Servers are started, waited for, watched and stopped, and keep no secret in their logs."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mlpinf_core.cli import cli
from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.servers import ServeOptions, ServerSpec
from mlpinf_core.serving.redaction import Redactor, refuse_secrets
from mlpinf_core.serving.servers import Servers

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/die":
            print("last words", flush=True)
            os._exit(7)
print("key is", os.environ.get("MY_API_KEY"), flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def spec(code: str, *arguments: str, name: str = "one", **environment: str) -> ServerSpec:
    port = free_port()
    command = (sys.executable, "-c", code, str(port), *arguments)
    return ServerSpec(name, command, f"http://127.0.0.1:{port}", environment=environment)


def servers(tmp_path: Path, *specs: ServerSpec, timeout: float = 60) -> Servers:
    return Servers(specs, tmp_path, ready_timeout=timeout, progress=lambda *_: None)


def is_listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def test_servers_are_ready_inside_the_context_and_gone_after_it(tmp_path: Path) -> None:
    with servers(tmp_path, spec(GOOD), spec(GOOD, name="two")) as running:
        assert all(is_listening(url) for url in running.urls)
        assert running.ended == []
    assert not any(is_listening(url) for url in running.urls)


def test_a_server_that_ends_while_it_starts_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = spec("import sys; sys.exit('no such model')", name="broken")
    with (
        pytest.raises(PrerequisiteError, match="broken ended with exit code 1: no such model"),
        servers(tmp_path, spec(GOOD), broken) as running,
    ):
        pytest.fail(f"ready: {running}")
    assert "no such model" in (tmp_path / "broken.log").read_text()


def test_a_server_that_ends_later_is_told_of_and_not_started_again(tmp_path: Path) -> None:
    with servers(tmp_path, spec(GOOD)) as running:
        url = running.urls[0]

        def ask_it_to_die() -> None:
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as sock:
                sock.sendall(b"GET /die HTTP/1.0\r\n\r\n")
                sock.recv(1024)

        threading.Thread(target=ask_it_to_die).start()
        with pytest.raises(PrerequisiteError, match=r"exit code 7.*last words"):
            running.watch()
        assert not is_listening(url)


def test_a_server_that_does_not_get_ready_is_stopped(tmp_path: Path) -> None:
    slow = spec("import threading; print('loading', flush=True); threading.Event().wait()")
    with (
        pytest.raises(PrerequisiteError, match="not ready in 1 s"),
        servers(tmp_path, slow, timeout=1) as running,
    ):
        pytest.fail(f"ready: {running}")


def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        wanted = ServerSpec("one", (sys.executable, "-c", GOOD), url)
        with pytest.raises(PrerequisiteError, match="cannot be listened on"):
            servers(tmp_path, wanted).__enter__()


def test_a_program_that_is_not_installed_is_named(tmp_path: Path) -> None:
    wanted = ServerSpec("one", ("no-such-server",), f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PrerequisiteError, match="no-such-server is not installed"):
        servers(tmp_path, wanted).__enter__()


def test_what_a_server_started_is_stopped_with_it(tmp_path: Path) -> None:
    pipe = tmp_path / "held by the child"
    os.mkfifo(pipe)
    child = f"file = open({str(pipe)!r}, 'w'); input()"
    code = f"import subprocess, sys\nargs = [sys.executable, '-c', {child!r}]\n"
    code += "child = subprocess.Popen(args, stdin=subprocess.PIPE)\n" + GOOD
    with servers(tmp_path, spec(code)), pipe.open():  # open: the child is there
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    readable, _, _ = select.select([reader], [], [], 30)
    assert readable, "the child still has the pipe open"
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_logs_hold_no_secrets(tmp_path: Path) -> None:
    secret = spec(GOOD, "--api-key", "hush-hush-1", "--hf-token=hush-hush-2", MY_API_KEY="hush-3xx")
    with servers(tmp_path, secret):
        pass
    text = (tmp_path / "one.log").read_text()
    assert "hush" not in text
    assert "key is ***" in text
    assert "--api-key '***'" in text or "--api-key ***" in text


def test_what_is_no_secret_stays() -> None:
    redactor = Redactor({"MAX_TOKENS_TOTAL": "8", "HOME": "/root"}, ("serve", "--max-tokens", "64"))
    assert redactor.text("8 of 64 in /root") == "8 of 64 in /root"


def test_options_and_specs_survive_their_way_to_the_child() -> None:
    options = ServeOptions(server="vllm", count=2, tensor_parallel=4, arguments=("--x", "1"))
    assert ServeOptions.from_dict(options.to_dict()) == options
    wanted = ServerSpec("one", ("a", "b"), "http://h:1", environment={"A": "b"})
    assert ServerSpec.from_dict(wanted.to_dict()) == wanted


# -- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--api-key", "hush-hush-1"), ("--hf-token=hush-hush-2",)])
def test_a_secret_on_the_command_line_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="where others can read it") as caught:
        refuse_secrets(arguments)
    assert "hush" not in str(caught.value)


def test_a_secret_is_given_by_the_name_of_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SERVERS_KEY", "hush-hush-3")
    arguments = ("--api-key=${TEST_SERVERS_KEY}",)
    refuse_secrets(arguments)
    heard = "import sys\nprint(len(sys.argv[2]), flush=True)\n" + GOOD
    with servers(tmp_path, spec(heard, *arguments)):
        pass
    text = (tmp_path / "one.log").read_text()
    assert str(len("--api-key=hush-hush-3")) in text.splitlines()
    assert "hush" not in text


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="NO_SUCH_KEY is not set"):
        servers(tmp_path, spec(GOOD, "${NO_SUCH_KEY}")).__enter__()


# -- how servers end ------------------------------------------------------------------------------


def test_a_server_that_leaves_a_child_with_its_output_is_seen_to_have_ended(tmp_path: Path) -> None:
    leaves = "import os, subprocess, sys, threading\n"
    leaves += "subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    leaves += "threading.Timer(1.0, os._exit, (9,)).start()\n" + GOOD
    with servers(tmp_path, spec(leaves)) as running, pytest.raises(PrerequisiteError, match="9"):
        running.watch()


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    pipe = tmp_path / "held by the server"
    os.mkfifo(pipe)
    holds = f"held = open({str(pipe)!r}, 'w')\n" + GOOD
    starts = (
        "import sys\nfrom pathlib import Path\n"
        "from mlpinf_core.servers import ServerSpec\n"
        "from mlpinf_core.serving.local import LocalServer\n"
        f"spec = ServerSpec('one', (sys.executable, '-c', {holds!r}, '{free_port()}'), "
        "'http://127.0.0.1:1')\n"
        "spec = ServerSpec('one', spec.command, f'http://127.0.0.1:{spec.command[-1]}')\n"
        f"LocalServer(spec, Path({str(tmp_path / 'log')!r}), print)\ninput()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", starts], stdin=subprocess.PIPE)
    with parent, pipe.open():  # open: the server is there
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        parent.kill()
        readable, _, _ = select.select([reader], [], [], 30)
        assert readable, "the server still has the pipe open"
        os.close(reader)


# -- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tp", "8"), "--tp says how servers are started"),
        (("--serve", "--backend", "ctranslate2"), "'ctranslate2' speaks to no servers"),
        (("--serve", "--server-argument=--api-key=hush"), "given a secret"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: tuple[str, ...], words: str
) -> None:
    called = CliRunner().invoke(
        cli, ["run", "llama3.1-8b", "--variant", "tiny", "--scenarios", "Offline", *arguments]
    )
    assert isinstance(called.exception, ConfigurationError)
    assert words in str(called.exception)
