"""Audits of real runs: what they leave, what they find, and what they make of damaged runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from mlpinf_core.audits.auditor import audit
from mlpinf_core.audits.counterparts import AuditRequest, find_counterparts
from mlpinf_core.audits.model import AuditResult, find_audits
from mlpinf_core.errors import ConfigurationError, ExitCode, LogError, PrerequisiteError
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.plugins import Plugins
from mlpinf_core.record import read_json
from mlpinf_core.results import RunResult
from mlpinf_core.rules import load_round
from mlpinf_core.runs import best, find_runs
from mlpinf_core.vocabulary import Mode

from .audited import audited, drifting, made

if TYPE_CHECKING:
    from mlpinf_core.audits.auditor import Audits

    from .conftest import PluginPath


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A performance run and an accuracy run; tests copy it before they change it."""
    output = tmp_path_factory.mktemp("runs")
    made(output)
    return output


@pytest.fixture(scope="module")
def audits(output: Path) -> Audits:
    """Both audits of them."""
    return audited(output)


def copied(output: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(output, tmp_path / "copy"))


def run_of(output: Path, mode: Mode) -> Path:
    (found,) = (run.directory for run in find_runs(output) if run.mode is mode)
    return found


def files_of(audit: AuditResult) -> set[str]:
    """What lies in the audit's directory, its run apart."""
    paths = (path for path in audit.directory.rglob("*") if path.is_file())
    names = {path.relative_to(audit.directory).as_posix() for path in paths}
    return {name for name in names if not name.startswith("run/")}


def test_every_test_that_the_rules_ask_is_made_and_passes(audits: Audits) -> None:
    assert [(each.test, each.passed) for each in audits.results] == [
        ("TEST01", True),
        ("TEST04", True),
    ]
    assert audits.exit_code is ExitCode.OK


def test_an_audit_leaves_the_official_files_and_its_own_record_and_nothing_else(
    audits: Audits,
) -> None:
    for each in audits.results:
        rules = load_round("v5.1").audits[each.test]
        wanted = {*rules.files, *rules.optional_files}
        assert {file.path for file in each.files} == wanted
        assert files_of(each) == wanted | {"audit.json"}


def test_the_texts_have_what_the_checker_looks_for(audits: Audits) -> None:
    answers, _ = audits.results
    lines = (answers.directory / "verify_accuracy.txt").read_text().splitlines()
    assert lines[-1] == "TEST PASS"
    assert "num_perf_log_data_mismatch = 0" in lines
    assert "TEST PASS" in (answers.directory / "verify_performance.txt").read_text().splitlines()


def test_loadgen_ran_with_what_the_test_asks_and_nobody_else_got_an_audit_config(
    audits: Audits, output: Path
) -> None:
    sampled, same = (
        DetailLog.read(a.directory / "run/mlperf_log_detail.txt") for a in audits.results
    )
    assert sampled.get("effective_accuracy_log_sampling_target") == 128
    assert same.get("effective_performance_issue_same") is True
    assert same.get("effective_performance_issue_same_index") == 3
    found = {path.parent for path in output.rglob("audit.config")}
    assert found == {each.directory / "run" for each in audits.results}
    assert not (Path.cwd() / "audit.config").exists()


def test_an_audits_run_is_never_taken_for_a_performance_run(audits: Audits, output: Path) -> None:
    run = RunResult.read(audits.results[0].directory / "run")
    assert run.audit == "TEST01"
    assert find_runs(run.directory) == []
    assert {found.mode for found in find_runs(output)} == set(Mode)
    assert read_json(run.directory / "run.json")["audit"]["test"] == "TEST01"


def test_an_audit_has_the_settings_of_the_run_that_it_audits(audits: Audits, output: Path) -> None:
    wanted = read_json(run_of(output, Mode.PERFORMANCE) / "run.json")["config"]["values"]
    for each in audits.results:
        assert read_json(each.directory / "run/run.json")["config"]["values"] == wanted


def test_audits_are_read_back_as_they_were_and_know_their_runs(
    audits: Audits, output: Path
) -> None:
    found = list(find_audits(output))
    assert [each.to_dict() for each in found] == [each.to_dict() for each in audits.results]
    runs = {mode: run_of(output, mode) for mode in Mode}
    assert [each.fault(runs) for each in found] == [None, None]


def test_an_audit_does_not_hold_for_another_run(
    audits: Audits, output: Path, tmp_path: Path
) -> None:
    other = copied(run_of(output, Mode.PERFORMANCE), tmp_path)
    with (other / "mlperf_log_detail.txt").open("a") as log:
        log.write("\n")
    fault = audits.results[0].fault({Mode.PERFORMANCE: other})
    assert fault == f"{other / 'mlperf_log_detail.txt'} is not what was audited"


def test_a_damaged_audit_is_left_out(audits: Audits, output: Path, tmp_path: Path) -> None:
    other = copied(output, tmp_path)
    for path in other.rglob("audit.json"):
        path.write_text(path.read_text()[:-40])
    assert audits.results
    assert list(find_audits(other)) == []


@pytest.mark.parametrize("mode", list(Mode))
def test_without_a_run_to_audit_nothing_is_made(mode: Mode, output: Path, tmp_path: Path) -> None:
    other = copied(output, tmp_path)
    shutil.rmtree(run_of(other, mode))
    with pytest.raises(ConfigurationError, match="null full Server") as caught:
        audited(other)
    assert "mlpinf run null" in str(caught.value.remedy)


def test_a_benchmark_that_was_not_run_is_named(output: Path, tmp_path: Path) -> None:
    request = AuditRequest(("whisper",), against=output, output=tmp_path)
    with pytest.raises(ConfigurationError, match="no run of whisper"):
        find_counterparts(request, Plugins.from_environment())


# -- damaged runs: a clear reason, and the audit fails -------------------------------------------


def missing(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [missing, truncated, empty])
def test_an_accuracy_log_that_cannot_be_read_fails_the_audit_and_is_named(
    damage: object, output: Path, tmp_path: Path
) -> None:
    other = copied(output, tmp_path)
    path = run_of(other, Mode.ACCURACY) / "mlperf_log_accuracy.json"
    damage(path)  # type: ignore[operator]
    (result,) = audited(other, tests=("TEST01",)).results
    (reason,) = result.reasons
    assert reason.code == "audit-log"
    assert str(path.name) in reason.message
    assert not (result.directory / "verify_accuracy.txt").read_text().startswith("TEST PASS")


@pytest.mark.parametrize("damage", [missing, truncated, empty])
def test_a_detail_log_that_cannot_be_read_fails_the_audit_and_is_named(
    damage: object, output: Path, tmp_path: Path
) -> None:
    other = copied(output, tmp_path)
    damage(run_of(other, Mode.PERFORMANCE) / "mlperf_log_detail.txt")  # type: ignore[operator]
    (result,) = audited(other, tests=("TEST04",)).results
    assert [reason.code for reason in result.reasons] == ["audit-log"]
    assert "detail log" in result.reasons[0].message


def test_a_foreign_accuracy_log_fails_the_audit(output: Path, tmp_path: Path) -> None:
    other = copied(output, tmp_path)
    path = run_of(other, Mode.ACCURACY) / "mlperf_log_accuracy.json"
    path.write_text('[\n{ "seq_id" : 0, "qsl_idx" : 5000, "data" : "00" }\n]\n')
    (result,) = audited(other, tests=("TEST01",)).results
    assert [reason.code for reason in result.reasons] == ["audit-answers"]
    assert "samples that the accuracy run's log does not have" in result.reasons[0].message


def test_logs_that_were_mixed_up_fail_the_audit(output: Path, tmp_path: Path) -> None:
    other = copied(output, tmp_path)
    shutil.copy(
        run_of(other, Mode.ACCURACY) / "mlperf_log_detail.txt",
        run_of(other, Mode.PERFORMANCE) / "mlperf_log_detail.txt",
    )
    (result,) = audited(other, tests=("TEST04",)).results
    assert [reason.code for reason in result.reasons] == ["audit-performance"]
    assert "AccuracyOnly" in result.reasons[0].message


def test_a_damaged_result_does_not_keep_the_others_from_being_found(
    output: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = copied(output, tmp_path)
    truncated(run_of(other, Mode.ACCURACY) / "result.json")
    assert [run.mode for run in find_runs(other)] == [Mode.PERFORMANCE]
    assert "left out" in caplog.text


def test_an_audit_json_that_says_something_else_is_refused(audits: Audits, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    text = (audits.results[0].directory / "audit.json").read_text()
    path.write_text(text.replace('"passed": true', '"passed": "yes"', 1))
    with pytest.raises(LogError, match="damaged"):
        AuditResult.read(tmp_path)


# -- answers that are not deterministic ----------------------------------------------------------


def test_answers_that_differ_and_score_the_same_pass_by_their_scores(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    plugin_path.write("drifting", drifting(worse=0))
    made(tmp_path, "drifting")
    (result,) = audited(tmp_path, "drifting").results
    assert result.passed, result.reasons
    texts = {
        name: (result.directory / name).read_text()
        for name in files_of(result)
        if name[-4:] == ".txt" and "log" not in name
    }
    assert texts["verify_accuracy.txt"].splitlines()[-1] == "TEST FAIL"
    baseline, compliance = (texts[f"accuracy/{n}_accuracy.txt"] for n in ("baseline", "compliance"))
    assert baseline == compliance == "{'right': 100.0}\n"
    assert texts["accuracy/accuracy.txt"] == compliance
    assert {file.path for file in result.files} == files_of(result) - {"audit.json"} - {
        name for name in files_of(result) if name.split("/")[0] in ("baseline", "compliance")
    }


def test_the_baseline_is_of_the_audits_samples_in_the_accuracy_runs_log(
    plugin_path: PluginPath, tmp_path: Path
) -> None:
    from mlpinf_core.logs.accuracy import AccuracyLog

    plugin_path.write("drifting", drifting(worse=0))
    made(tmp_path, "drifting")
    (result,) = audited(tmp_path, "drifting").results
    name = "mlperf_log_accuracy.json"
    sampled = AccuracyLog.read(result.directory / "run" / name)
    baseline = AccuracyLog.read(result.directory / "baseline" / name)
    whole = AccuracyLog.read(run_of(tmp_path, Mode.ACCURACY) / name)
    assert set(baseline.qsl_indices) == set(sampled.qsl_indices)
    answers = dict(zip(whole.qsl_indices.tolist(), whole.payloads(), strict=True))
    assert all(
        answers[sample] == payload
        for sample, payload in zip(baseline.qsl_indices.tolist(), baseline.payloads(), strict=True)
    )


def test_answers_that_are_worse_when_timed_fail(plugin_path: PluginPath, tmp_path: Path) -> None:
    plugin_path.write("drifting", drifting(worse=10))
    made(tmp_path, "drifting")
    audits = audited(tmp_path, "drifting")
    (result,) = audits.results
    assert [reason.code for reason in result.reasons] == ["audit-accuracy"]
    assert "of 1 % allowed" in result.reasons[0].message
    assert audits.exit_code is ExitCode.INVALID


def test_the_best_run_is_the_fastest(output: Path) -> None:
    runs = find_runs(output)
    assert best(runs) == next(run for run in runs if run.mode is Mode.PERFORMANCE)
    assert best([]) is None


def test_a_run_that_cannot_be_submitted_is_not_the_best(output: Path) -> None:
    (run,) = (found for found in find_runs(output) if found.performance is not None)
    assert run.performance is not None
    better = 0.5 if run.performance.unit == "ms" else 2
    figures = attrs.evolve(run.performance, value=run.performance.value * better)
    notes = (*run.verdict.notes, "not submittable: it is for this test alone")
    barred = attrs.evolve(run, performance=figures, verdict=attrs.evolve(run.verdict, notes=notes))
    assert best([run, attrs.evolve(run, performance=figures)]) is not run
    assert best([barred, run]) is run


def test_a_faster_backend_that_no_accuracy_run_vouches_for_is_not_audited(
    output: Path, tmp_path: Path
) -> None:
    other = copied(output, tmp_path)
    run = RunResult.read(run_of(other, Mode.PERFORMANCE))
    assert run.performance is not None
    faster = Path(shutil.copytree(run.directory, other / "another/null/performance"))
    better = 0.5 if run.performance.unit == "ms" else 2
    figures = attrs.evolve(run.performance, value=run.performance.value * better)
    attrs.evolve(run, directory=faster, performance=figures).write()
    data = json.loads((faster / "run.json").read_text())
    data["config"]["values"]["run"]["backend"] = "another"
    (faster / "run.json").write_text(json.dumps(data))
    request = AuditRequest(("null",), against=other, output=tmp_path / "audits")
    (found,) = find_counterparts(request, Plugins.from_environment())
    assert found.performance.directory == run.directory


def test_runs_of_several_systems_are_not_audited_together(output: Path, tmp_path: Path) -> None:
    other = copied(output, tmp_path)
    path = run_of(other, Mode.ACCURACY) / "run.json"
    data = json.loads(path.read_text())
    data["system"]["name"] = "another-machine"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigurationError, match=r"several systems: .*another-machine"):
        audited(other)


def test_audits_that_cannot_be_written_end_in_one_error(output: Path, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    plugins = Plugins.from_environment()
    request = AuditRequest(("null",), against=output, output=tmp_path / "in the way")
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        audit(find_counterparts(request, plugins), plugins, request.output)
