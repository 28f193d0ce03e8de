"""``mlpinf serve``, and the servers of ``mlpinf run --serve``."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from typing import TYPE_CHECKING, Any

import attrs
import click

from mlpinf_core.cli.console import set_up_logging
from mlpinf_core.cli.options import request_options
from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.servers import FIRST_PORT, ServeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.serving.servers import Servers

READY_TIMEOUT = 1800.0
"""Seconds; a large model takes its time."""

_SERVER_OPTIONS = (
    click.option(
        "--server",
        metavar="NAME",
        default="",
        help="Which server: the plugin knows; the variant's own where not given.",
    ),
    click.option(
        "--count",
        metavar="N",
        type=click.IntRange(min=1),
        help="How many servers; as many as the devices allow where not given.",
    ),
    click.option(
        "--host",
        metavar="HOST",
        default="127.0.0.1",
        show_default=True,
        help="What they listen on.",
    ),
    click.option(
        "--port",
        metavar="N",
        type=click.IntRange(1, 65535),
        default=FIRST_PORT,
        show_default=True,
        help="Port of the first server; the others have the next ones.",
    ),
    click.option(
        "--tp", metavar="N", type=click.IntRange(min=1), default=1, help="Tensor parallelism."
    ),
    click.option(
        "--pp", metavar="N", type=click.IntRange(min=1), default=1, help="Pipeline parallelism."
    ),
    click.option(
        "--ep", metavar="N", type=click.IntRange(min=1), default=1, help="Expert parallelism."
    ),
    click.option(
        "--checkpoint", metavar="PATH", help="The model; the variant's own where not given."
    ),
    click.option(
        "--ready-timeout",
        metavar="S",
        type=float,
        default=READY_TIMEOUT,
        show_default=True,
        help="Longest wait until all servers are ready.",
    ),
    click.option(
        "--server-argument",
        "arguments",
        metavar="TEXT",
        multiple=True,
        help="For the server's own command line, as it is. Repeatable.",
    ),
)


@attrs.frozen
class Wanted:
    """The servers that a command line asks for, and how long to wait for them."""

    options: ServeOptions
    ready_timeout: float


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which servers to start; it gets them as ``wanted``."""

    @functools.wraps(command)
    def with_wanted(**given: Any) -> Any:
        own = {name: given.pop(name) for name in inspect.signature(_wanted).parameters}
        return command(wanted=_wanted(**own), **given)

    wrapped: Callable[..., Any] = with_wanted
    for option in reversed(_SERVER_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _wanted(
    *,
    server: str,
    count: int | None,
    host: str,
    port: int,
    tp: int,
    pp: int,
    ep: int,
    checkpoint: str | None,
    arguments: tuple[str, ...],
    ready_timeout: float,
) -> Wanted:
    options = ServeOptions(server, count, host, port, tp, pp, ep, checkpoint, arguments)
    return Wanted(options, ready_timeout)


@click.command(
    "serve",
    short_help="Start servers for a benchmark, and keep them until interrupted.",
    epilog="\b\nExamples:\n"
    "  mlpinf serve llama3.1-8b --variant tiny\n"
    "  mlpinf serve llama3.1-8b --variant tiny --count 2 --port 31000",
)
@request_options
@server_options
@click.pass_obj
def serve_command(verbose: int, request: Request, wanted: Wanted) -> None:
    """Start servers for a benchmark, wait until they are ready, print their URLs, watch them.

    A server that ends by itself ends the others and this command: none is started again in
    silence. Ctrl-C stops all.
    """
    set_up_logging(verbose)
    with running_servers(request, wanted, verbose=verbose) as servers:
        urls = json.dumps(servers.urls)
        click.echo(f"ready: {' '.join(servers.urls)}")
        click.echo(f"mlpinf run ... --backend openai --set 'backend.urls={urls}'")
        servers.watch()


@contextlib.contextmanager
def running_servers(request: Request, wanted: Wanted, *, verbose: int) -> Iterator[Servers]:
    """Servers for a request's benchmark, ready.

    Raises:
        ConfigurationError: the request names several benchmarks.
        PrerequisiteError: a server cannot be started.
    """
    from mlpinf_core.cli.progress import ConsoleReporter
    from mlpinf_core.serving.planning import plan_servers
    from mlpinf_core.serving.servers import Servers

    plugins = Plugins.from_environment()
    plan = make_plan(request, plugins)
    names = dict.fromkeys(planned.workload.benchmark for planned in plan.runs)
    if len(names) > 1:
        raise ConfigurationError(
            f"servers serve one model, and {len(names)} benchmarks were named: {', '.join(names)}",
            remedy="name one of them",
        )
    with ConsoleReporter(verbose=bool(verbose)) as reporter:
        specs, directory = plan_servers(
            plan, plugins, wanted.options, reporter=reporter, debug=verbose > 1
        )

    def progress(ready: int, count: int) -> None:
        click.echo(f"servers: {ready} of {count} ready (logs in {directory})", err=True)

    servers = Servers(specs, directory, ready_timeout=wanted.ready_timeout, progress=progress)
    with servers:
        yield servers
        for how in servers.ended:
            click.echo(f"server: {how} (logs in {directory})", err=True)


def with_servers(request: Request, urls: list[str]) -> Request:
    """The request with the servers as its backend."""
    layer = Layer("--serve", {"run": {"backend": "openai"}, "backend": {"urls": urls}})
    return attrs.evolve(request, layers=(*request.layers, layer))
