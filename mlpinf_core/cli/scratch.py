"""``mlpinf scratch``."""

from __future__ import annotations

import click

from mlpinf_core.cli.console import print_json, readers_may_leave, set_up_logging
from mlpinf_core.cli.options import json_option
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ExitCode
from mlpinf_core.inventory import Item, ItemState, inventory
from mlpinf_core.plugins import Plugins
from mlpinf_core.scratch import Scratch, readable


@click.command(
    "scratch",
    epilog="\b\nExamples:\n  mlpinf scratch\n  mlpinf scratch --verify\n  mlpinf scratch --json",
)
@click.option("--verify", is_flag=True, help="Read every file that was built, and hash it anew.")
@click.option("--missing", is_flag=True, help="Show what is missing too.")
@json_option
@click.pass_obj
def scratch_command(verbose: int, verify: bool, missing: bool, as_json: bool) -> int:
    """What lies in the scratch space: how it is, how large, and whose. Removes nothing."""
    set_up_logging(verbose)
    scratch = Scratch.from_environment()
    items = inventory(Plugins.from_environment(), scratch, anew=verify)
    free = scratch.free_bytes()
    with readers_may_leave():
        if as_json:
            print_json(
                {
                    "scratch": str(scratch.root),
                    "free_bytes": free,
                    "items": [item.to_dict() for item in items],
                }
            )
        else:
            shown = [i for i in items if missing or i.state is not ItemState.MISSING]
            _show(shown, len(items) - len(shown), scratch, free)
    return ExitCode.FAILED if any(i.state is ItemState.WRONG for i in items) else ExitCode.OK


def _show(items: list[Item], hidden: int, scratch: Scratch, free: int) -> None:
    if items:
        print_table(
            ("path", "size", "state", "whose"),
            [
                (_short(item, scratch), readable(item.size), item.state.value, item.whose)
                for item in items
            ],
        )
    for item in items:
        if item.detail is not None and item.state is not ItemState.MISSING:
            click.echo(f"{_short(item, scratch)}: {item.detail}")
    used = sum(item.size for item in items if item.state is not ItemState.MISSING)
    click.echo(f"{readable(used)} in {scratch.root}, {readable(free)} free")
    if hidden:
        click.echo(f"{hidden} more that installed benchmarks need are missing: --missing")


def _short(item: Item, scratch: Scratch) -> str:
    inside = item.path.is_relative_to(scratch.root)
    return str(item.path.relative_to(scratch.root) if inside else item.path)
