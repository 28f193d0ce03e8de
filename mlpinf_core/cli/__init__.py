"""The command line. Commands are imported when they are called, so that ``--help`` is instant."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from types import FrameType

_COMMANDS: Final = {
    "run": ("mlpinf_core.cli.run", "Run benchmarks: LoadGen, performance, accuracy, verdict."),
    "plan": (
        "mlpinf_core.cli.run",
        "Show what `run` would do, how long it takes, what is missing.",
    ),
    "list": ("mlpinf_core.cli.listing", "Benchmarks, scenarios, variants and backends."),
    "plugins": ("mlpinf_core.cli.listing", "Installed plugins and how well each loaded."),
    "config": ("mlpinf_core.cli.config", "Every setting of a workload, and where it comes from."),
    "show": ("mlpinf_core.cli.show", "The result of an earlier run."),
    "fetch": ("mlpinf_core.cli.prepare", "Fetch the files that benchmarks need."),
    "prepare": ("mlpinf_core.cli.prepare", "Fetch, preprocess and build engines, and run nothing."),
    "build": ("mlpinf_core.cli.prepare", "Build the engines of a backend that has any."),
    "system": (
        "mlpinf_core.cli.system",
        "What this machine is, and how a submission describes it.",
    ),
    "doctor": ("mlpinf_core.cli.doctor", "What on this machine would hurt a result."),
    "check": ("mlpinf_core.cli.check", "Put a plugin through the conformance kit."),
    "completion": ("mlpinf_core.cli.completion", "Print the set-up of a shell's completion."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name and summary, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from mlpinf_core.cli.groups import refuse_unknown

        refuse_unknown(self, ctx, args)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        import importlib.metadata

        click.echo(f"mlpinf {importlib.metadata.version('mlpinf-core')}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n"
    "  mlpinf list\n"
    "  mlpinf run llama3.1-8b --variant tiny --scenarios Offline,Server\n"
    "  mlpinf plan llama3.1-8b --variant tiny\n"
    "  mlpinf show\n\n"
    "\b\nExit codes: 0 valid and accurate, 2 usage or configuration, 3 INVALID,\n"
    "4 accuracy missed, 5 a plugin, backend or prerequisite failed, 130 interrupted.",
)
@click.option("-v", "--verbose", count=True, help="Show tracebacks; twice: log in detail.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context, verbose: int) -> None:
    """Run MLPerf Inference benchmarks and judge them by the rules."""
    ctx.obj = verbose


def main(arguments: list[str] | None = None) -> None:
    """The console script: run a command, print its error if it has one, exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # it is ignored under nohup
        signal.signal(signal.SIGHUP, _terminate)
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does: children are stopped and the verdict is written on the way out."""
    signal.signal(number, signal.SIG_IGN)
    del frame
    raise KeyboardInterrupt


def _run(arguments: list[str]) -> int:
    verbose = any(a == "--verbose" or (a[:2] == "-v" and set(a[1:]) == {"v"}) for a in arguments)
    try:
        result: Any = cli.main(
            args=_verbose_first(arguments), prog_name="mlpinf", standalone_mode=False
        )
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if "--json" in arguments:
            from mlpinf_core.cli.console import print_error_json

            print_error_json(
                type(error).__name__, error.format_message(), None, None, error.exit_code
            )
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except SystemExit as stop:  # click's own word for a reader that went away: `mlpinf list | head`
        return int(stop.code or 0) if stop.code != 1 else 0
    except Exception as error:  # noqa: BLE001 - the one place where every error ends
        from mlpinf_core.cli.console import show_error

        return show_error(error, verbose=verbose, as_json="--json" in arguments)
    return int(result or 0)


def _verbose_first(arguments: list[str]) -> list[str]:
    """``-v`` may be given anywhere, as people do; click takes it before the command."""
    flags = [a for a in arguments if a == "--verbose" or (a[:2] == "-v" and set(a[1:]) == {"v"})]
    return flags + [a for a in arguments if a not in flags]
