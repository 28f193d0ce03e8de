"""``mlpinf list`` and ``mlpinf plugins``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.tables import print_table
from mlpinf_core.plugins import Plugins, PluginState

if TYPE_CHECKING:
    from mlpinf_core.benchmark import BackendInfo, Benchmark


@click.command("list", epilog="\b\nExamples:\n  mlpinf list\n  mlpinf list --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def list_command(verbose: int, as_json: bool) -> None:
    """Benchmarks with variants, scenarios and backends; what is installed, what is missing."""
    set_up_logging(verbose)
    plugins = Plugins.from_environment()
    found = [_benchmark(b, plugins) for b in plugins.benchmarks()]
    if as_json:
        print_json({"benchmarks": found})
        return
    print_table(
        ("benchmark", "", "variants", "scenarios", "backends", "from"),
        [
            (
                b["name"],
                b["summary"],
                "\n".join(
                    v["name"] + (" (not yet)" if v["unavailable"] else "") for v in b["variants"]
                ),
                ", ".join(b["scenarios"]),
                "\n".join(_backend_line(backend) for backend in b["backends"]),
                b["distribution"],
            )
            for b in found
        ],
    )
    broken = [i for i in plugins.infos() if i.state is not PluginState.LOADED]
    for info in broken:
        click.echo(f"plugin {info.name!r} is not usable ({info.state}): {info.detail}")


@click.command("plugins", epilog="\b\nExamples:\n  mlpinf plugins\n  mlpinf plugins --json")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def plugins_command(verbose: int, as_json: bool) -> None:
    """Installed plugins and how well each loaded.

    A plugin that did not load says why and what mends it; only choosing what it offers is an error.
    MLPINF_DISABLE_PLUGINS=a,b leaves plugins out.
    """
    set_up_logging(verbose)
    import attrs

    infos = Plugins.from_environment().infos()
    if as_json:
        print_json({"plugins": [{**attrs.asdict(i), "state": i.state.value} for i in infos]})
        return
    print_table(
        ("plugin", "distribution", "version", "state", "offers", "detail"),
        [
            (
                i.name,
                i.distribution,
                i.version,
                i.state.value,
                "\n".join([*i.benchmarks, *(f"backend {name}" for name in i.backends)]),
                i.detail,
            )
            for i in infos
        ],
    )


def _benchmark(benchmark: Benchmark, plugins: Plugins) -> dict[str, Any]:
    return {
        "name": benchmark.name,
        "summary": benchmark.summary,
        "aliases": list(benchmark.aliases),
        "distribution": plugins.owner(benchmark.name).distribution,
        "scenarios": [s.value for s in benchmark.scenarios],
        "variants": [
            {"name": v.value, "summary": spec.summary, "unavailable": spec.unavailable}
            for v, spec in benchmark.variants.items()
        ],
        "backends": [_backend(b) for b in plugins.backends(benchmark.name)],
    }


def _backend(backend: BackendInfo) -> dict[str, Any]:
    return {"name": backend.name, "summary": backend.summary, "missing": backend.missing()}


def _backend_line(backend: dict[str, Any]) -> str:
    if not backend["missing"]:
        return str(backend["name"])
    return f"{backend['name']} (missing: pip install {shlex.join(backend['missing'])})"
