"""The tiny language model's engine called directly, on the very batches that Offline makes.

LoadGen is run once with a SUT that only notes which samples it issues; the engine then answers
them, in batches of the harness's size and as many at a time,
and that part is timed. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg
import numpy as np

from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.config.overrides import parse_assignment
from mlpinf_core.context import Run
from mlpinf_core.events import EventWriter
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.rules import load_round
from mlpinf_core.scratch import Scratch
from mlpinf_core.vocabulary import Mode, Scenario, Variant


def issued(model: str, sample_count: int, queries: int) -> list[int]:
    """The samples that Offline issues, in order, with the round's seeds."""
    seen: list[int] = []

    def issue(ids: list[int], indices: list[int]) -> None:
        seen.extend(indices)
        lg.QuerySamplesComplete([lg.QuerySampleResponse(id_, 0, 0, 2) for id_ in ids])

    settings = lg.TestSettings()
    settings.FromConfig("", model, "Offline", 0)
    settings.scenario, settings.mode = lg.TestScenario.Offline, lg.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.offline_expected_qps = 0, 0
    settings.min_query_count = settings.max_query_count = queries
    settings.performance_sample_count_override = sample_count
    seeds = load_round("v5.1").seeds
    settings.qsl_rng_seed = seeds.qsl_rng_seed
    settings.sample_index_rng_seed = seeds.sample_index_rng_seed
    settings.schedule_rng_seed = seeds.schedule_rng_seed
    log = lg.LogSettings()
    log.enable_trace = False
    with tempfile.TemporaryDirectory() as directory:
        log.log_output.outdir = directory
        sut = lg.ConstructFastSUT(issue, lambda: None)
        qsl = lg.ConstructQSL(sample_count, sample_count, lambda _: None, lambda _: None)
        lg.StartTestWithLogSettings(sut, qsl, settings, log, f"{directory}/audit.config")
    return seen


def prepared(name: str, *settings: str) -> tuple[Any, Any, Any]:
    """The run, its samples and its loaded backend, made by the plugin's own hooks.

    Args:
        name: of the benchmark.
        settings: as after ``--set`` on the command line.
    """
    plugins = Plugins.from_environment()
    layers = tuple(map(parse_assignment, settings))
    request = Request((name,), (Scenario.OFFLINE,), variant=Variant.TINY, layers=layers)
    plan = make_plan(request, plugins)
    planned = plan.runs[0]
    scratch = Scratch.from_environment()
    run = Run(
        workload=planned.workload,
        mode=Mode.PERFORMANCE,
        config=planned.config(plugins, Mode.PERFORMANCE),
        rules=planned.rules,
        benchmark=planned.benchmark,
        scratch=scratch,
        store=ArtifactStore(scratch),
        directory=Path(tempfile.gettempdir()),
        events=EventWriter(),
    )
    call = plugins.call_five
    five = (planned.benchmark.name, run.config.run.backend)
    dataset = call("dataset", *five, run=run)
    samples = call("preprocess", *five, run=run, dataset=dataset)
    backend = call("build_backend", *five, run=run, samples=samples)
    backend.load()
    backend.warm_up()
    return run, samples, backend


def main() -> None:
    """Time the engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmark", default="llama3.1-8b")
    parser.add_argument("--queries", type=int, required=True)
    arguments = parser.parse_args()
    run, samples, backend = prepared(arguments.benchmark)
    order = np.array(issued(run.rules.loadgen_name, len(samples), arguments.queries))
    order = order[np.argsort(-samples.lengths[order], kind="stable")]  # as the harness does
    size = run.config.sut.max_batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    with ThreadPoolExecutor(backend.replicas) as pool:
        started = time.perf_counter()
        tokens = sum(int(outputs.n_tokens.sum()) for outputs in pool.map(backend.infer, batches))
        seconds = time.perf_counter() - started
    backend.close()
    print(
        json.dumps({"samples": len(order), "tokens": tokens, "tokens_per_second": tokens / seconds})
    )


if __name__ == "__main__":
    main()
