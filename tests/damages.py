"""Ways to damage a good tree, each with the rule that has to be named for it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from .submission_trees import DETAIL, SUBMITTER, SYSTEM, rewrite, value_of

OWNER: Final = f"closed/{SUBMITTER}"
LLM: Final = f"{OWNER}/results/{SYSTEM}/llama3.1-8b"
OFFLINE: Final = f"{LLM}/Offline"
SERVER: Final = f"{LLM}/Server"
WHISPER: Final = f"{OWNER}/results/{SYSTEM}/whisper/Offline"
RUN: Final = f"{OFFLINE}/performance/run_1"
SERVED: Final = f"{SERVER}/performance/run_1"
ACCURACY: Final = f"{OFFLINE}/accuracy"
DESCRIPTION: Final = f"{OWNER}/systems/{SYSTEM}.json"


@attrs.frozen
class Damage:
    """One way to damage a tree.

    Attributes:
        name: what is done.
        rule: that has to be named for it.
        do: does it to the tree at a path.
    """

    name: str
    rule: str
    do: Callable[[Path], None]


def copy_of(tree: Path, place: Path) -> Path:
    """A tree that may be damaged."""
    copy = place / "tree"
    shutil.copytree(tree, copy)
    return copy


def removed(name: str) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        path = tree / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return do


def written(name: str, content: str | bytes) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return do


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        text = (tree / name).read_text(encoding="utf-8")
        assert old in text, (name, old)
        (tree / name).write_text(text.replace(old, new), encoding="utf-8")

    return do


def reworded(name: str, pattern: str, new: str) -> Callable[[Path], None]:
    """Another line for one that cannot be known beforehand."""

    def do(tree: Path) -> None:
        text, count = re.subn(pattern, new, (tree / name).read_text(encoding="utf-8"))
        assert count == 1, (name, pattern)
        (tree / name).write_text(text, encoding="utf-8")

    return do


def cut_off(name: str, share: float) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        content = (tree / name).read_bytes()
        (tree / name).write_bytes(content[: int(len(content) * share)])

    return do


def moved(source: str, target: str) -> Callable[[Path], None]:
    return lambda tree: (tree / source).rename(tree / target) and None


def copied(source: str, target: str) -> Callable[[Path], None]:
    return lambda tree: shutil.copy(tree / source, tree / target) and None


def said(folder: str, *, drop: tuple[str, ...] = (), **values: Any) -> Callable[[Path], None]:
    """Another value in a detail log."""

    def do(tree: Path) -> None:
        for key in (*values, *drop):
            value_of(tree / folder / DETAIL, key)  # fails where the log has no such key
        rewrite(tree / folder / DETAIL, values, drop=drop)

    return do


def appended(folder: str, key: str, value: Any, *, error: bool = False) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        data = {"key": key, "value": value, "metadata": {"is_error": error, "is_warning": False}}
        with (tree / folder / DETAIL).open("a", encoding="utf-8") as log:
            log.write(f":::MLLOG {json.dumps(data)}\n")

    return do


def field(name: str, **values: Any) -> Callable[[Path], None]:
    """Another value in a JSON object; None takes it away."""

    def do(tree: Path) -> None:
        data = json.loads((tree / name).read_text(encoding="utf-8"))
        for key, value in values.items():
            assert key in data
            data[key] = value
            if value is None:
                del data[key]
        (tree / name).write_text(json.dumps(data), encoding="utf-8")

    return do


def added(name: str, **values: Any) -> Callable[[Path], None]:
    """One more value in a JSON object."""

    def do(tree: Path) -> None:
        data = json.loads((tree / name).read_text(encoding="utf-8"))
        assert not data.keys() & values.keys()
        (tree / name).write_text(json.dumps(data | values), encoding="utf-8")

    return do


def linked(name: str) -> Callable[[Path], None]:
    return lambda tree: (tree / name).symlink_to("elsewhere")


def folder(name: str) -> Callable[[Path], None]:
    return lambda tree: (tree / name).mkdir(parents=True)


def large(tree: Path) -> None:
    with (tree / f"{OWNER}/src/data.bin").open("wb") as file:
        file.truncate(60 << 20)  # a hole: it takes no room


def sources(folder: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        found = value_of(tree / folder / DETAIL, "loadgen_file_sha1")
        change(found)
        rewrite(tree / folder / DETAIL, {"loadgen_file_sha1": found})

    return do


def hashed(text: str) -> Callable[[Path], None]:
    """Another checksum in accuracy.txt."""

    def do(tree: Path) -> None:
        path = tree / ACCURACY / "accuracy.txt"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("hash=")]
        path.write_text("\n".join([*lines, text, ""]))

    return do


def whole_log(tree: Path) -> None:
    """The log as it was before it was cut."""
    name = f"{ACCURACY}/mlperf_log_accuracy.json"
    shutil.copy(tree.with_name("tree-whole") / name, tree / name)


def powered(*, without: str = "", beside: str = "", late: bool = False) -> Callable[[Path], None]:
    """A power measurement that lacks something or has more, or was taken at another time."""

    def do(tree: Path) -> None:
        run = tree / RUN
        begin = value_of(run / DETAIL, "power_begin")
        middle = value_of(run / DETAIL, "power_end") if late else begin[:-3] + "999"
        names = ("client.json", "client.log", "ptd_logs.txt", "server.json", "server.log")
        for name in names:
            written(f"{OFFLINE}/performance/power/{name}", "said")(tree)
        (run / "spl.txt").write_text(f"Time,{middle},Watts,100.0\n")
        shutil.copytree(run, run.with_name("ranging"))
        for name in ("analyzer_table.md", "power_settings.md"):
            written(f"{OFFLINE}/{name}", "said")(tree)
        if without:
            removed(without)(tree)
        if beside:
            written(beside, "x")(tree)

    return do


def interactive(tree: Path) -> None:
    """A Server run in a folder whose scenario has tighter limits."""
    (tree / SERVER).rename(tree / LLM / "Interactive")
    rewrite(
        tree / LLM / "Interactive/performance/run_1" / DETAIL,
        {"result_first_token_99.00_percentile_latency_ns": 900_000_000},
    )


DAMAGES: Final = [
    # the tree
    Damage("the division is gone", "tree-empty", removed("closed")),
    Damage("a submitter has no results", "tree-empty", removed(f"{OWNER}/results")),
    Damage("a division that there is not", "division-unknown", folder("ajar/ACME/results")),
    Damage("a file at the root", "stray-file", written("notes.txt", "x")),
    Damage("a file in the division", "stray-file", written("closed/notes.md", "x")),
    Damage("a file among the logs", "stray-file", written(f"{RUN}/core", "x")),
    Damage("a file in the accuracy run", "stray-file", written(f"{ACCURACY}/core", "x")),
    Damage("a hidden file", "file-name", written(f"{OWNER}/src/.git", "x")),
    Damage("a space in a name", "file-name", written(f"{OWNER}/src/a b", "x")),
    Damage("a line break in a name", "file-name", written(f"{OWNER}/src/a\nb", "x")),
    Damage("a name in Latin-1", "file-name", written(f"{OWNER}/src/\udce9", "x")),
    Damage("a cache of Python", "file-name", written(f"{OWNER}/src/__pycache__/a.pyc", "x")),
    Damage("a broken link", "link", linked(f"{OWNER}/src/link")),
    Damage("a file of 60 MiB", "file-size", large),
    Damage("an empty folder", "empty-folder", folder(f"{OWNER}/documentation/more")),
    Damage("no source code", "source-missing", removed(f"{OWNER}/src")),
    Damage("no calibration note", "calibration-missing", removed(f"{OWNER}/documentation")),
    Damage("a mapping", "mapping", written(f"{OWNER}/model_mapping.json", "{}")),
    # systems
    Damage("no description", "system-missing", removed(DESCRIPTION)),
    Damage("a description of nothing", "system-unused", written(f"{OWNER}/systems/B.json", "{}")),
    Damage("half a description", "system-damaged", cut_off(DESCRIPTION, 0.5)),
    Damage("a description that is a list", "system-damaged", written(DESCRIPTION, "[]")),
    Damage("a description in Latin-1", "system-damaged", written(DESCRIPTION, b'{"a": "\xe9"}')),
    Damage("a description nested deeply", "system-damaged", written(DESCRIPTION, "[" * 100_000)),
    Damage("a field is missing", "system-field", field(DESCRIPTION, hw_notes=None)),
    Damage("a field is empty", "system-field", field(DESCRIPTION, cooling=" ")),
    Damage("the number 0", "system-field", field(DESCRIPTION, accelerators_per_node=0)),
    Damage("an unknown status", "system-word", field(DESCRIPTION, status="sold out")),
    Damage("an unknown type", "system-word", field(DESCRIPTION, system_type="laptop")),
    Damage("a type in capitals", "system-word", field(DESCRIPTION, system_type="Datacenter")),
    Damage("a count in words", "system-word", field(DESCRIPTION, number_of_nodes="two")),
    Damage("another submitter's", "system-owner", field(DESCRIPTION, submitter="EMCA")),
    Damage("another division's", "system-owner", field(DESCRIPTION, division="open")),
    Damage("over a network", "network", added(DESCRIPTION, is_network="True")),
    Damage("no network, and a word of it", "system-field", added(DESCRIPTION, is_network="No")),
    # benchmarks
    Damage("an unknown benchmark", "benchmark-unknown", moved(LLM, f"{LLM}-mine")),
    Damage("a benchmark of the other category", "category", field(DESCRIPTION, system_type="edge")),
    Damage("a scenario in small letters", "scenario-unknown", moved(SERVER, f"{LLM}/server")),
    Damage(
        "a scenario of another benchmark", "scenario-unknown", moved(SERVER, f"{LLM}/MultiStream")
    ),
    Damage("a required scenario is gone", "scenario-missing", removed(OFFLINE)),
    Damage("neither Server nor Interactive", "scenario-missing", removed(SERVER)),
    # measurements
    Damage("no user.conf", "measurements-missing", removed(f"{OFFLINE}/user.conf")),
    Damage("no README.md", "measurements-missing", removed(f"{OFFLINE}/README.md")),
    Damage("no measurements", "measurements-missing", removed(f"{OFFLINE}/measurements.json")),
    Damage("an empty README.md", "empty-file", written(f"{OFFLINE}/README.md", "")),
    Damage(
        "half the measurements",
        "measurements-damaged",
        cut_off(f"{OFFLINE}/measurements.json", 0.5),
    ),
    Damage(
        "a measurement is missing",
        "measurements-field",
        field(f"{OFFLINE}/measurements.json", retraining=None),
    ),
    Damage(
        "a measurement says nothing",
        "measurements-field",
        field(f"{OFFLINE}/measurements.json", weight_data_types=""),
    ),
    # logs
    Damage("no performance run", "run-missing", removed(f"{OFFLINE}/performance")),
    Damage("no accuracy run", "run-missing", removed(ACCURACY)),
    Damage("no detail log", "log-missing", removed(f"{RUN}/{DETAIL}")),
    Damage("no detail log of accuracy", "log-missing", removed(f"{ACCURACY}/{DETAIL}")),
    Damage("an empty detail log", "log-damaged", written(f"{RUN}/{DETAIL}", "")),
    Damage("half a detail log", "log-damaged", cut_off(f"{RUN}/{DETAIL}", 0.5)),
    Damage("bytes instead of a log", "log-damaged", written(f"{RUN}/{DETAIL}", bytes(range(256)))),
    Damage("the end of a log is gone", "log-incomplete", said(RUN, drop=("num_errors",))),
    Damage("a figure is text", "log-incomplete", said(RUN, result_query_count="many")),
    Damage(
        "an accuracy log for performance",
        "log-foreign",
        copied(f"{ACCURACY}/{DETAIL}", f"{RUN}/{DETAIL}"),
    ),
    Damage(
        "a Server log for Offline", "log-foreign", copied(f"{SERVED}/{DETAIL}", f"{RUN}/{DETAIL}")
    ),
    Damage(
        "a performance log for accuracy",
        "log-foreign",
        copied(f"{RUN}/{DETAIL}", f"{ACCURACY}/{DETAIL}"),
    ),
    Damage("no summary", "summary", removed(f"{RUN}/mlperf_log_summary.txt")),
    Damage("an empty summary", "summary", written(f"{RUN}/mlperf_log_summary.txt", "")),
    Damage(
        "a summary that disagrees",
        "summary",
        replaced(f"{RUN}/mlperf_log_summary.txt", "Result is : VALID", "Result is : INVALID"),
    ),
    Damage(
        "a better figure in the summary",
        "summary",
        reworded(f"{RUN}/mlperf_log_summary.txt", r"(?m)^(Tokens per second: ).*$", r"\g<1>123456"),
    ),
    Damage(
        "no figure in the summary",
        "summary",
        reworded(f"{RUN}/mlperf_log_summary.txt", r"(?m)^Samples per second: .*$", ""),
    ),
    Damage(
        "a better latency in the summary",
        "summary",
        reworded(
            f"{SERVED}/mlperf_log_summary.txt",
            r"(?m)^(99\.00 percentile first token latency .*: ).*$",
            r"\g<1>12",
        ),
    ),
    Damage("no summary of accuracy", "summary", removed(f"{ACCURACY}/mlperf_log_summary.txt")),
    Damage(
        "an error in the log", "loadgen-errors", appended(RUN, "error_runtime", "x", error=True)
    ),
    Damage(
        "an error in accuracy",
        "loadgen-errors",
        appended(ACCURACY, "error_runtime", "x", error=True),
    ),
    Damage("an edited version", "loadgen-version", said(RUN, loadgen_version="9.9.9 @ d6147c7eb7")),
    Damage("no version", "loadgen-version", said(RUN, loadgen_version="mine")),
    Damage("another commit", "loadgen-version", said(RUN, loadgen_git_log_message="0123 mine")),
    Damage("no sources", "loadgen-sources", said(RUN, loadgen_file_sha1={})),
    Damage("sources as text", "loadgen-sources", said(RUN, loadgen_file_sha1="all")),
    Damage("a source is missing", "loadgen-sources", sources(RUN, lambda s: s.pop("/loadgen.cc"))),
    Damage(
        "a source is another",
        "loadgen-sources",
        sources(ACCURACY, lambda s: s.update({"/loadgen.cc": "0" * 40})),
    ),
    Damage(
        "built from changes",
        "loadgen-sources",
        said(RUN, loadgen_git_status_message=" M results.cc"),
    ),
    Damage("a wrong seed", "seeds", said(RUN, effective_qsl_rng_seed=1)),
    Damage("a wrong seed of accuracy", "seeds", said(ACCURACY, effective_schedule_rng_seed=1)),
    Damage("no name of the system", "sut-name", said(RUN, sut_name="")),
    # performance
    Damage("INVALID", "invalid", said(RUN, result_validity="INVALID")),
    Damage("no verdict", "invalid", said(RUN, drop=("result_validity",))),
    Damage("a short run was asked for", "min-duration", said(RUN, effective_min_duration_ms=1000)),
    Damage("the run was short", "min-duration", said(RUN, result_min_duration_met=False)),
    Damage("too few queries", "min-queries", said(SERVED, result_query_count=100)),
    Damage("not proved", "early-stopping", said(SERVED, early_stopping_met=False)),
    Damage(
        "an easier percentile",
        "early-stopping",
        said(SERVED, effective_target_latency_percentile=0.9),
    ),
    Damage(
        "few samples loaded",
        "performance-samples",
        said(RUN, effective_performance_sample_count=64),
    ),
    Damage("a small data set", "data-set", said(RUN, qsl_reported_total_count=64)),
    Damage("Offline of a few", "offline-samples", said(RUN, generated_samples_per_query=64)),
    Damage(
        "no permutation", "equal-issue", said(RUN, effective_sample_concatenate_permutation=False)
    ),
    Damage("one sample only", "audit-settings", said(RUN, effective_performance_issue_same=True)),
    Damage("an audit's log", "audit-settings", said(RUN, effective_accuracy_log_rng_seed=7)),
    Damage("tokens not tracked", "token-latencies", said(RUN, requested_use_token_latencies=False)),
    Damage(
        "slow first tokens",
        "latency",
        said(SERVED, **{"result_first_token_99.00_percentile_latency_ns": 3_000_000_000}),
    ),
    Damage(
        "slow tokens",
        "latency",
        said(SERVED, **{"result_time_per_output_token_99.00_percentile_ns": 200_000_000}),
    ),
    Damage(
        "a target beyond the cap",
        "latency",
        said(SERVED, effective_target_latency_ns=30_000_000_000),
    ),
    Damage("Server's latency in Interactive", "latency", interactive),
    Damage("no result", "result", said(RUN, drop=("result_tokens_per_second",))),
    Damage("a negative result", "result", said(RUN, result_tokens_per_second=-5)),
    # accuracy
    Damage("no accuracy log", "accuracy-log", removed(f"{ACCURACY}/mlperf_log_accuracy.json")),
    Damage(
        "an accuracy log of nothing",
        "accuracy-log",
        written(f"{ACCURACY}/mlperf_log_accuracy.json", "[\n]\n"),
    ),
    Damage(
        "the end of an accuracy log is gone",
        "accuracy-log",
        cut_off(f"{ACCURACY}/mlperf_log_accuracy.json", 0.9),
    ),
    Damage("an accuracy log that is not cut", "accuracy-log-size", whole_log),
    Damage("no checksum", "accuracy-hash", hashed("")),
    Damage("a checksum that is none", "accuracy-hash", hashed("hash=abc")),
    Damage("a wrong checksum", "accuracy-hash", hashed(f"hash={'0' * 64}")),
    Damage("two checksums", "accuracy-hash", hashed(f"hash={'0' * 64}\nhash={'1' * 64}")),
    Damage("no accuracy.txt", "accuracy-text", removed(f"{ACCURACY}/accuracy.txt")),
    Damage(
        "a number as NumPy shows it",
        "accuracy-text",
        replaced(f"{ACCURACY}/accuracy.txt", "'rouge1': ", "'rouge1': np.float64("),
    ),
    Damage(
        "a metric is missing",
        "accuracy-text",
        replaced(f"{ACCURACY}/accuracy.txt", "'rouge2'", "'rouge22'"),
    ),
    Damage(
        "a metric twice",
        "accuracy-text",
        replaced(f"{ACCURACY}/accuracy.txt", "'rouge2'", "'rouge1': 99.0, 'rouge2'"),
    ),
    Damage(
        "accuracy below the limit",
        "accuracy-limits",
        replaced(f"{ACCURACY}/accuracy.txt", "'rouge1': 3", "'rouge1': 2"),
    ),
    Damage(
        "accuracy above the limit",
        "accuracy-limits",
        replaced(f"{ACCURACY}/accuracy.txt", "'gen_len': 8", "'gen_len': 88"),
    ),
    Damage("part of the data set", "accuracy-samples", said(ACCURACY, qsl_reported_total_count=64)),
    Damage("an integer of 400 digits", "log-incomplete", said(RUN, result_query_count=10**400)),
    # compliance tests
    Damage("no TEST06", "audit-missing", removed(f"{OFFLINE}/TEST06")),
    Damage(
        "no verdict of TEST01", "audit-missing", removed(f"{WHISPER}/TEST01/verify_accuracy.txt")
    ),
    Damage(
        "TEST06 failed",
        "audit-failed",
        replaced(
            f"{OFFLINE}/TEST06/verify_accuracy.txt", "EOS check pass: True", "EOS check pass: False"
        ),
    ),
    Damage(
        "TEST01's performance failed",
        "audit-failed",
        written(f"{WHISPER}/TEST01/verify_performance.txt", "TEST FAIL\n"),
    ),
    Damage(
        "TEST01's verdict is not quite one",
        "audit-failed",
        written(f"{WHISPER}/TEST01/verify_performance.txt", "not TEST PASS\n"),
    ),
    Damage(
        "TEST01's verdict is both",
        "audit-failed",
        written(f"{WHISPER}/TEST01/verify_performance.txt", "TEST FAIL\nTEST PASS\n"),
    ),
    Damage(
        "TEST06's verdict is both",
        "audit-failed",
        replaced(
            f"{OFFLINE}/TEST06/verify_accuracy.txt",
            "EOS check pass: True",
            "EOS check pass: False\nEOS check pass: True",
        ),
    ),
    Damage(
        "TEST01's comparison passed, and answers differ",
        "audit-failed",
        replaced(f"{WHISPER}/TEST01/verify_accuracy.txt", "mismatch = 0", "mismatch = 5"),
    ),
    Damage(
        "TEST01's comparison passed and failed",
        "audit-failed",
        replaced(f"{WHISPER}/TEST01/verify_accuracy.txt", "TEST PASS", "TEST FAIL\nTEST PASS"),
    ),
    Damage(
        "TEST01 was slower, and its verdict does not say so",
        "audit-failed",
        said(f"{WHISPER}/TEST01/performance/run_1", result_samples_per_second=1.0),
    ),
    Damage(
        "TEST01's log has another checksum",
        "accuracy-hash",
        written(f"{WHISPER}/TEST01/accuracy/accuracy.txt", f"hash={'0' * 64}\n"),
    ),
    Damage(
        "TEST01's comparison failed, and there is no other",
        "audit-failed",
        written(f"{WHISPER}/TEST01/verify_accuracy.txt", "TEST FAIL\n"),
    ),
    Damage(
        "TEST01 was run without its settings",
        "audit-settings",
        said(f"{WHISPER}/TEST01/performance/run_1", effective_accuracy_log_rng_seed=0),
    ),
    Damage(
        "TEST01's run is INVALID",
        "invalid",
        said(f"{WHISPER}/TEST01/performance/run_1", result_validity="INVALID"),
    ),
    Damage(
        "a file in TEST01's run",
        "audit-files",
        written(f"{WHISPER}/TEST01/performance/run_1/core", "x"),
    ),
    Damage(
        "a file in TEST01's accuracy",
        "audit-files",
        written(f"{WHISPER}/TEST01/accuracy/notes.txt", "x"),
    ),
    Damage("an empty verdict", "empty-file", written(f"{OFFLINE}/TEST06/verify_accuracy.txt", "")),
    # power
    Damage(
        "power without its log",
        "power-files",
        powered(without=f"{OFFLINE}/performance/power/ptd_logs.txt"),
    ),
    Damage(
        "power without its ranging run",
        "power-files",
        powered(without=f"{OFFLINE}/performance/ranging"),
    ),
    Damage(
        "power without its settings", "power-files", powered(without=f"{OFFLINE}/analyzer_table.md")
    ),
    Damage(
        "a file beside the power",
        "power-files",
        powered(beside=f"{OFFLINE}/performance/power/notes.txt"),
    ),
    Damage(
        "a file in the ranging run",
        "power-files",
        powered(beside=f"{OFFLINE}/performance/ranging/notes.txt"),
    ),
    Damage("power at another time", "power-samples", powered(late=True)),
]
