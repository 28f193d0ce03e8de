"""What the commands print: errors, JSON, and the console that tables are printed to."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from mlpinf_core.errors import ExitCode, MlpinfError
from mlpinf_core.record import finite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


def console(*, err: bool = False) -> Console:
    """A rich console that never cuts a table's cells when its output goes to a file."""
    from rich.console import Console

    made = Console(stderr=err, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = max(made.width, 140)
    return made


def set_up_logging(verbose: int) -> None:
    """Warnings always; everything with ``-vv``."""
    level = logging.DEBUG if verbose > 1 else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(finite(data), indent=1, allow_nan=False))


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """Let ``mlpinf run ... | head`` end with the run's code, not with that of a broken pipe."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error_json(
    kind: str, what: str, where: str | None, remedy: str | None, code: int
) -> None:
    """An error as one JSON document on standard output."""
    fields = {"type": kind, "what": what, "where": where, "remedy": remedy, "exit_code": int(code)}
    print_json({"error": fields})


def show_error(error: BaseException, *, verbose: bool, as_json: bool) -> int:
    """Print an error that ended a command; returns the exit code."""
    if verbose:
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, MlpinfError):
        code, what, where, remedy = error.exit_code, error.what, error.where, error.remedy
    else:
        code, where = ExitCode.FAILED, None
        what = f"{type(error).__name__}: {error}"
        remedy = "this is a bug of mlpinf or of a plugin: run again with -v for the traceback"
    if as_json:
        print_error_json(type(error).__name__, what, where, remedy, code)
    lines = [click.style("error: ", fg="red", bold=True) + what]
    if where:
        lines.append(f"  where: {where}")
    if remedy:
        lines.append(f"  remedy: {remedy}")
    click.echo("\n".join(lines), err=True)
    return int(code)
