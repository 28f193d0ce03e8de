"""``mlpinf config``."""

from __future__ import annotations

from typing import Any

import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.options import request_options
from mlpinf_core.cli.tables import print_table
from mlpinf_core.config import dump
from mlpinf_core.config.schema import LoadGenSettings, RunSettings, SutSettings
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins


@click.command(
    "config",
    epilog="\b\nExamples:\n"
    "  mlpinf config llama3.1-8b --variant tiny --scenarios Server --mode performance\n"
    "  mlpinf config --keys",
)
@request_options
@click.option("--keys", is_flag=True, help="Explain every key instead; no benchmark is needed.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def config_command(verbose: int, request: Request, keys: bool, as_json: bool) -> None:
    """Every setting of a workload, its value, and the layer that set it.

    Layers, the lowest first: the round's rules, the benchmark's defaults, settings files
    (--config), environment variables (MLPINF__LOADGEN__TARGET_QPS=10), the command line.
    """
    set_up_logging(verbose)
    plugins = Plugins.from_environment()
    if keys and not request.benchmarks:
        _show_keys(plugins, as_json=as_json)
        return
    shown: list[dict[str, Any]] = []
    for planned in make_plan(request, plugins).runs:
        for mode in planned.modes:
            config = planned.config(plugins, mode)
            rows = dump.rows(config)
            if as_json:
                shown.append(
                    {
                        "workload": planned.workload.to_dict(),
                        "mode": mode.value,
                        "settings": [
                            {"key": r.key, "value": r.value, "unit": r.unit, "origin": r.origin}
                            for r in rows
                        ],
                    }
                )
                continue
            print_table(
                ("key", "value", "unit", "origin", *(["meaning"] if keys else [])),
                [(r.key, r.value, r.unit, r.origin, *([r.doc] if keys else [])) for r in rows],
                title=f"{planned.workload} {mode}",
            )
    if as_json:
        print_json({"workloads": shown})


def _show_keys(plugins: Plugins, *, as_json: bool) -> None:
    found = [
        *dump.keys(RunSettings, "run"),
        *dump.keys(LoadGenSettings, "loadgen"),
        *dump.keys(SutSettings, "sut"),
    ]
    tables = [("core", found)]
    for benchmark in plugins.benchmarks():
        tables.append((benchmark.name, dump.keys(benchmark.settings, "benchmark")))
        tables += [
            (f"{benchmark.name} with {backend.name}", dump.keys(backend.settings, "backend"))
            for backend in plugins.backends(benchmark.name)
        ]
    if as_json:
        import attrs

        print_json({name: [attrs.asdict(key) for key in keys] for name, keys in tables})
        return
    for name, keys in tables:
        if keys:
            print_table(
                ("key", "type", "default", "unit", "meaning"),
                [(k.key, k.type, k.default, k.unit, k.doc) for k in keys],
                title=name,
            )
