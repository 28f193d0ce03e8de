"""``mlpinf serve``, and the servers of ``mlpinf run --serve``."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import shlex
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.core import ParameterSource

from mlpinf_core.cli.console import set_up_logging
from mlpinf_core.cli.options import request_options
from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.servers import FIRST_PORT, ServeOptions
from mlpinf_core.serving.redaction import refuse_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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


def refuse_without_serve() -> None:
    """An option about servers would be ignored in silence where none is started.

    Raises:
        ConfigurationError: one was given.
    """
    context = click.get_current_context()
    for name in inspect.signature(_wanted).parameters:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(p.opts[0] for p in context.command.params if p.name == name)
            raise ConfigurationError(
                f"{option} says how servers are started, and none is",
                remedy="add --serve, or leave it out",
            )


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
    refuse_secrets(arguments)
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
        click.echo(f"ready: {' '.join(servers.urls)}")
        backend, *settings = [
            f"{name}.{key}={json.dumps(value)}"
            for name, table in tables(request, servers.settings, servers.urls).items()
            for key, value in table.items()
        ]
        given = " ".join(f"--set {shlex.quote(setting)}" for setting in settings)
        name = json.loads(backend.partition("=")[2])
        click.echo(f"mlpinf run ... --backend {name} {given}")
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


def with_servers(request: Request, settings: Mapping[str, Any], urls: Sequence[str]) -> Request:
    """The request with the servers as its backend.

    Args:
        request: as it was given.
        settings: of the backend, for these servers.
        urls: where they are.

    Raises:
        ConfigurationError: the benchmark's plugin speaks to no servers, or a backend was asked for
            that does not.
    """
    layer = Layer("--serve", tables(request, settings, urls))
    return attrs.evolve(request, layers=(*request.layers, layer))


def tables(
    request: Request, settings: Mapping[str, Any], urls: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The configuration of runs against servers; ``run.backend`` is its first key."""
    plugins = Plugins.from_environment()
    planned = make_plan(request, plugins).runs[0]
    known = [info for info in plugins.backends(planned.benchmark.name) if info.servers]
    if not known:
        raise ConfigurationError(
            f"no backend of {planned.benchmark.name} speaks to servers", remedy="leave --serve out"
        )
    given = next(
        (layer.values["run"]["backend"] for layer in reversed(request.layers)
         if "backend" in layer.values.get("run", {})), known[0].name,
    )  # fmt: skip
    if given not in [info.name for info in known]:
        raise ConfigurationError(
            f"the backend {given!r} speaks to no servers, and --serve starts some",
            remedy="leave one of the two out",
        )
    return {"run": {"backend": given}, "backend": {**settings, "urls": list(urls)}}
