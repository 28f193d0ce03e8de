"""Good trees for the tests of submissions, and what may be done to them.

Runs are real: LoadGen, one process each, through the plugin in ``posing_plugin``. A round wants 600
seconds of a performance run, so the logs of these, which took none, are *lengthened*: what they say
of their duration is rewritten. So is what they say of their slowest tokens, which a busy machine
decides, and the summary says the same of those. Nothing else is. What a compliance test leaves
behind is written down as a test that passed would have left it.
"""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core import api
from mlpinf_core.audits.model import AuditedRun, AuditResult, records_of
from mlpinf_core.plugins import Plugins
from mlpinf_core.results import RunResult
from mlpinf_core.rules import load_round
from mlpinf_core.submission.staging import Staged, stage
from mlpinf_core.submission.truncation import truncate
from mlpinf_core.vocabulary import Division

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlpinf_core.results import Results

PROJECT: Final = Path(__file__).parent / "posing_plugin"
SUBMITTER: Final = "ACME"
SYSTEM: Final = "generic-CPU"
FIELDS: Final = {
    "status": "available",
    "system_name": "a machine of the tests",
    "system_type": "datacenter,edge",
    "host_memory_configuration": "4x 32 GB",
    "host_memory_capacity": "128 GB",
    "host_networking": "Ethernet",
    "host_networking_topology": "N/A",
    "host_network_card_count": "1",
    "host_processors_per_node": "1",
    "host_processor_core_count": "2",
    "host_processor_model_name": "a processor",
    "host_storage_capacity": "1 TB",
    "host_storage_type": "NVMe",
    "accelerators_per_node": "0",
    "accelerator_model_name": "N/A",
    "accelerator_memory_capacity": "N/A",
    "accelerator_host_interconnect": "N/A",
    "accelerator_memory_configuration": "N/A",
    "accelerator_interconnect": "N/A",
    "framework": "none",
    "operating_system": "Linux",
    "other_software_stack": "none",
    "cooling": "air",
}
COMPARED: Final = (("num_perf_log_data_mismatch = 0",), ("TEST PASS",))
"""What TEST01 says where every answer is the accuracy run's."""
TIMES: Final = "%m-%d-%Y %H:%M:%S.%f"
LENGTH: Final = 601
DETAIL: Final = "mlperf_log_detail.txt"
SUMMARY: Final = "mlperf_log_summary.txt"
ACCURACY_LOG: Final = "mlperf_log_accuracy.json"


def make_runs(
    output: Path, round_: str, benchmark: str, scenarios: Iterable[str], variant: str = "full"
) -> Results:
    """Short runs, performance and accuracy, lengthened."""
    rules = load_round(round_).benchmark(benchmark)
    found = None
    for scenario in scenarios:
        loadgen: dict[str, Any] = {"min_duration": 0, "target_qps": 50_000}
        if scenario == "Offline":
            loadgen["min_query_count"] = rules.dataset_size
        elif scenario in ("Server", "Interactive"):
            loadgen["min_query_count"] = 700
            if rules.token_latencies:
                loadgen |= {"ttft_ms": 60_000, "tpot_ms": 60_000}
        else:
            loadgen |= {"min_query_count": 700, "target_latency_ms": 1}
            del loadgen["target_qps"]
        found = api.run(
            benchmark,
            scenarios=scenario,
            round=round_,
            variant=variant,
            settings={"loadgen": loadgen},
            system=SYSTEM,
            output=output,
        )
        assert found.ok, [run.verdict for run in found.runs]
        for run in found.runs:
            if run.mode.value == "performance":
                lengthen(run.directory / DETAIL)
    assert found is not None
    return found


def rewrite(log: Path, values: Mapping[str, Any], *, drop: Iterable[str] = ()) -> None:
    """Change what a detail log says, line by line."""
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines():
        data = json.loads(line.removeprefix(":::MLLOG "))
        if data["key"] in drop:
            continue
        if data["key"] in values:
            data["value"] = values[data["key"]]
            line = f":::MLLOG {json.dumps(data)}"
        lines.append(line)
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def value_of(log: Path, key: str) -> Any:
    """What a detail log says last of a key."""
    found = re.findall(
        rf'^:::MLLOG (.*"key": "{re.escape(key)}".*)$', log.read_text(), re.MULTILINE
    )
    return json.loads(found[-1])["value"]


def lengthen(log: Path) -> None:
    """As if the run had taken as long as a round wants."""
    begin = datetime.datetime.strptime(value_of(log, "power_begin"), TIMES)  # noqa: DTZ007 - one clock
    end = begin + datetime.timedelta(seconds=LENGTH)
    long = {f"{kind}_min_duration_ms": 600_000 for kind in ("requested", "effective")}
    quick = {
        "result_first_token_99.00_percentile_latency_ns": 1_000_000,
        "result_time_per_output_token_99.00_percentile_ns": 1_000_000,
    }
    rewrite(log, {**long, **quick, "power_end": end.strftime(TIMES)[:-3]})
    summary = log.with_name(SUMMARY)
    tokens = r"(?m)^(99\.00 percentile (?:first token latency|time to output token) .*: )\d+$"
    summary.write_text(re.sub(tokens, r"\g<1>1000000", summary.read_text()))


def add_audits(runs: Path) -> None:
    """What passed compliance tests leave behind, for every performance run below a directory."""
    for path in sorted(runs.rglob("result.json")):
        result = RunResult.read(path.parent)
        if result.mode.value != "performance":
            continue
        rules = load_round(result.workload.round).benchmark(result.workload.benchmark)
        for test in rules.audits:
            add_audit(path.parent, result, test)


def add_audit(run: Path, result: RunResult, test: str) -> None:
    folder = run.parent / test
    folder.mkdir()
    said = load_round(result.workload.round).submission.audits[test]
    names = load_round(result.workload.round).audits[test].files
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("performance/"):
            shutil.copy(run / Path(name).name, folder / name)
        elif name.startswith("accuracy/"):
            shutil.copy(run.with_name("accuracy") / Path(name).name, folder / name)
        else:
            wanted = said.verdicts.get(name, COMPARED)
            lines = [choices[0] for choices in wanted]
            (folder / name).write_text("".join(f"{line}\n" for line in lines))
    log = folder / "performance" / "run_1" / DETAIL
    if log.is_file():
        values: dict[str, Any] = dict(said.values)
        if "effective_performance_issue_same" in values:
            values["effective_performance_issue_same"] = True
        rewrite(log, values)
    AuditResult(
        directory=folder,
        workload=result.workload,
        test=test,
        passed=True,
        reasons=(),
        checks=(),
        runs=audited_runs(run, test),
        files=records_of(folder, names),
        created="2026-01-01T00:00:00+00:00",
    ).write()


def audited_runs(run: Path, test: str) -> dict[str, AuditedRun]:
    """What an audit of a run says it was held against."""
    runs = {"performance": AuditedRun.of(run, (SUMMARY, DETAIL))}
    if test == "TEST01":
        runs["accuracy"] = AuditedRun.of(run.with_name("accuracy"), (ACCURACY_LOG,))
    return runs


def make_tree(
    runs: Path, output: Path, round_: str, division: str, *, cut: bool = True, **more: Any
) -> Staged:
    """Stage runs, and cut their accuracy logs."""
    calibration = runs.parent / "calibration.md"
    calibration.write_text("Nothing was calibrated.\n")
    source = runs.parent / "source"
    source.mkdir(exist_ok=True)
    (source / "README.md").write_text("There is none.\n")
    arguments: dict[str, Any] = {"source": source, "calibration": calibration, "fields": FIELDS}
    staged = stage(
        [runs],
        output,
        plugins=Plugins.from_environment(),
        round=round_,
        division=Division(division),
        submitter=SUBMITTER,
        **(arguments | more),
    )
    if cut:
        truncate(output, output.with_name(f"{output.name}-whole"), load_round(round_).submission)
    return staged
