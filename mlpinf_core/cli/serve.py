"""``mlpinf serve``, and the servers of ``mlpinf run --serve``."""

from __future__ import annotations

import contextlib
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


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which servers to start."""
    for option in reversed(_SERVER_OPTIONS):
        command = option(command)
    return command


def options_from(given: dict[str, Any]) -> tuple[ServeOptions, float]:
    """The options as given on the command line, and how long to wait."""
    return (
        ServeOptions(
            server=given["server"],
            count=given["count"],
            host=given["host"],
            port=given["port"],
            tensor_parallel=given["tp"],
            pipeline_parallel=given["pp"],
            expert_parallel=given["ep"],
            checkpoint=given["checkpoint"],
            arguments=tuple(given["arguments"]),
        ),
        given["ready_timeout"],
    )


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
def serve_command(verbose: int, request: Request, **given: Any) -> None:
    """Start servers for a benchmark, wait until they are ready, print their URLs, watch them.

    A server that ends by itself ends the others and this command: none is started again in
    silence. Ctrl-C stops all.
    """
    set_up_logging(verbose)
    options, ready_timeout = options_from(given)
    with running_servers(request, options, ready_timeout, verbose=verbose) as servers:
        urls = json.dumps(servers.urls)
        click.echo(f"ready: {' '.join(servers.urls)}")
        click.echo(f"mlpinf run ... --backend openai --set 'backend.urls={urls}'")
        servers.watch()


@contextlib.contextmanager
def running_servers(
    request: Request, options: ServeOptions, ready_timeout: float, *, verbose: int
) -> Iterator[Servers]:
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
            plan, plugins, options, reporter=reporter, debug=verbose > 1
        )

    def progress(ready: int, count: int) -> None:
        click.echo(f"servers: {ready} of {count} ready (logs in {directory})", err=True)

    servers = Servers(specs, directory, ready_timeout=ready_timeout, progress=progress)
    with servers:
        yield servers
        for how in servers.ended:
            click.echo(f"server: {how} (logs in {directory})", err=True)


def with_servers(request: Request, urls: list[str]) -> Request:
    """The request with the servers as its backend."""
    layer = Layer("--serve", {"run": {"backend": "openai"}, "backend": {"urls": urls}})
    return attrs.evolve(request, layers=(*request.layers, layer))
