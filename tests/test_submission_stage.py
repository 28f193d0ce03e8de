"""Staging: the best valid runs, whole or not at all, and clear errors for what cannot be staged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from mlpinf_core.audits.model import AuditResult
from mlpinf_core.errors import (
    ConfigurationError,
    IntegrityError,
    PrerequisiteError,
    UnknownNameError,
)
from mlpinf_core.plugins import Plugins
from mlpinf_core.results import RunResult
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.submission.checking import check
from mlpinf_core.submission.naming import measurements
from mlpinf_core.submission.staging import stage
from mlpinf_core.submission.truncation import truncate
from mlpinf_core.submission.whole import alone_at
from mlpinf_core.vocabulary import Division, Variant

from .disks import full_disk
from .submission_trees import ACCURACY_LOG, DETAIL, FIELDS, SUBMITTER, SYSTEM, make_tree, rewrite

if TYPE_CHECKING:
    from mlpinf_core.submission.staging import Staged


@pytest.fixture
def runs(good_tree: Path, posing: None, tmp_path: Path) -> Path:
    """The runs that the good tree was made of, to be changed."""
    shutil.copytree(good_tree.with_name("runs"), tmp_path / "runs")
    return tmp_path / "runs"


def run_of(runs: Path, name: str) -> Path:
    """The directory of one run, ``llama3.1-8b-full-Offline/performance``."""
    workload, _, mode = name.partition("/")
    (found,) = runs.glob(f"*/{workload}-*/{mode}")
    return found


def staged(runs: Path, tree: Path, division: str = "open", **more: Any) -> Staged:
    arguments: dict[str, Any] = {"fields": FIELDS, "submitter": SUBMITTER, "round": "v6.1"} | more
    return stage(
        [runs],
        tree,
        plugins=Plugins.from_environment(),
        division=Division(division),
        **arguments,
    )


def edit(path: Path, **values: Any) -> None:
    data = json.loads(path.read_text())
    data.update(values)
    path.write_text(json.dumps(data))


# -- what is staged --------------------------------------------------------------------------------


def test_each_workload_has_its_place(runs: Path, tmp_path: Path) -> None:
    found = staged(runs, tmp_path / "tree")
    assert found.entries == (
        "open/ACME/generic-CPU/llama3.1-8b/Offline",
        "open/ACME/generic-CPU/llama3.1-8b/Server",
        "open/ACME/generic-CPU/whisper/Offline",
    )


def test_logs_are_copied_as_they_are(runs: Path, tmp_path: Path) -> None:
    staged(runs, tmp_path / "tree")
    original = run_of(runs, "whisper-full-Offline/performance") / DETAIL
    copy = f"open/ACME/results/{SYSTEM}/whisper/Offline/performance/run_1/{DETAIL}"
    assert (tmp_path / "tree" / copy).read_bytes() == original.read_bytes()


def test_the_better_of_two_runs_is_taken(runs: Path, tmp_path: Path) -> None:
    first = run_of(runs, "whisper-full-Offline/performance")
    better = runs / "another" / first.parent.name / "performance"
    shutil.copytree(first, better)
    result = RunResult.read(better)
    assert result.performance is not None
    faster = attrs.evolve(result.performance, value=result.performance.value * 2)
    attrs.evolve(result, performance=faster).write()
    rewrite(better / DETAIL, {faster.key: faster.value})
    staged(runs, tmp_path / "tree")
    copy = f"open/ACME/results/{SYSTEM}/whisper/Offline/performance/run_1/{DETAIL}"
    assert (tmp_path / "tree" / copy).read_bytes() == (better / DETAIL).read_bytes()


def test_a_run_that_cannot_be_submitted_does_not_beat_one_that_can(
    runs: Path, tmp_path: Path
) -> None:
    first = run_of(runs, "whisper-full-Offline/performance")
    faster = runs / "another" / first.parent.name / "performance"
    shutil.copytree(first, faster)
    result = RunResult.read(faster)
    assert result.performance is not None
    figures = attrs.evolve(result.performance, value=result.performance.value * 2)
    notes = (*result.verdict.notes, "not submittable: the answers come from a model")
    verdict = attrs.evolve(result.verdict, notes=notes)
    attrs.evolve(result, performance=figures, verdict=verdict).write()
    rewrite(faster / DETAIL, {figures.key: figures.value})
    found = staged(runs, tmp_path / "tree")
    copy = f"open/ACME/results/{SYSTEM}/whisper/Offline/performance/run_1/{DETAIL}"
    assert (tmp_path / "tree" / copy).read_bytes() == (first / DETAIL).read_bytes()
    assert [str(faster)] == [e.what for e in found.left if "another run of it is taken" in e.why]


def test_an_accuracy_run_of_another_model_does_not_vouch_for_a_run(
    runs: Path, tmp_path: Path
) -> None:
    path = run_of(runs, "whisper-full-Offline/accuracy") / "run.json"
    data = json.loads(path.read_text())
    data["config"]["values"]["benchmark"]["batch_ms"] = 1.0
    path.write_text(json.dumps(data))
    found = staged(runs, tmp_path / "tree")
    assert not any("whisper" in entry for entry in found.entries)
    assert any("no accuracy run has the settings" in each.why for each in found.left)


def test_an_invalid_run_is_left_out_and_said(runs: Path, tmp_path: Path) -> None:
    path = run_of(runs, "whisper-full-Offline/performance") / "result.json"
    cause = {"code": "latency", "message": "too slow", "suggestion": None}
    edit(path, verdict={"valid": False, "causes": [cause], "notes": []})
    found = staged(runs, tmp_path / "tree")
    assert any("too slow" in each.why for each in found.left)


def test_a_run_of_an_audit_is_no_result(runs: Path, tmp_path: Path) -> None:
    for mode in ("performance", "accuracy"):
        edit(run_of(runs, f"whisper-full-Offline/{mode}") / "result.json", audit="TEST01")
    assert not any("whisper" in entry for entry in staged(runs, tmp_path / "tree").entries)


def test_tiny_variants_are_mapped_in_the_open_division(runs: Path, tmp_path: Path) -> None:
    for mode in ("performance", "accuracy"):
        directory = run_of(runs, f"whisper-full-Offline/{mode}")
        for name in ("run.json", "result.json"):
            workload = json.loads((directory / name).read_text())["workload"]
            edit(directory / name, workload={**workload, "variant": "tiny"})
    staged(runs, tmp_path / "tree")
    mapping = json.loads((tmp_path / "tree/open/ACME/model_mapping.json").read_text())
    assert mapping == {"whisper-tiny": "whisper"}
    truncate(tmp_path / "tree", tmp_path / "whole", load_round("v6.1").submission)
    report = check(tmp_path / "tree", round="v6.1")
    assert report.ok, report.findings
    assert {result.model for result in report.results} == {"llama3.1-8b", "whisper"}


def test_tiny_variants_are_left_out_of_the_closed_division(runs: Path, tmp_path: Path) -> None:
    for mode in ("performance", "accuracy"):
        directory = run_of(runs, f"whisper-full-Offline/{mode}")
        for name in ("run.json", "result.json"):
            workload = json.loads((directory / name).read_text())["workload"]
            edit(directory / name, workload={**workload, "variant": "tiny"})
    found = make_tree(runs, tmp_path / "tree", "v6.1", "closed")
    assert any("closed division has the round's own model" in each.why for each in found.left)


def test_two_audits_keep_their_files_apart(good_tree: Path) -> None:
    results = good_tree / f"closed/ACME/results/{SYSTEM}"
    tests = sorted(str(path.relative_to(results)) for path in results.glob("*/*/TEST*"))
    assert tests == [
        "llama3.1-8b/Offline/TEST06",
        "llama3.1-8b/Server/TEST06",
        "whisper/Offline/TEST01",
    ]


def test_audits_are_found_as_deep_as_runs_are(runs: Path, tmp_path: Path) -> None:
    deep = tmp_path / "a/machine/of/the/lab/and/its"
    deep.mkdir(parents=True)
    shutil.move(runs, deep / "runs")
    found = staged(tmp_path / "a", tmp_path / "tree")
    assert len(found.entries) == 3
    tests = {path.name for path in (tmp_path / "tree").rglob("TEST*")}
    assert tests == {"TEST01", "TEST06"}


def test_an_audit_below_two_roots_is_told_of_once(runs: Path, tmp_path: Path) -> None:
    for audit in runs.rglob("audit.json"):
        edit(audit, passed=False)
    arguments: dict[str, Any] = {"round": "v6.1", "division": Division.OPEN, "fields": FIELDS}
    roots = [runs, *runs.iterdir()]
    found = stage(
        roots,
        tmp_path / "tree",
        plugins=Plugins.from_environment(),
        submitter=SUBMITTER,
        **arguments,
    )
    told = [str(left) for left in found.left if "TEST" in str(left)]
    assert len(told) == len(set(told)) == 3


def test_an_audit_of_another_run_is_left_out(runs: Path, tmp_path: Path) -> None:
    (folder,) = runs.glob("*/whisper-*/TEST01")
    audit = AuditResult.read(folder)
    verdict = folder / "verify_performance.txt"
    verdict.write_text("TEST PASS, and edited\n")
    found = staged(runs, tmp_path / "tree")
    assert any(
        each.what.startswith(audit.test) and "not what was audited" in each.why
        for each in found.left
    )
    assert not list((tmp_path / "tree").rglob("TEST01"))


def test_an_audit_of_a_slower_run_is_not_stapled_to_a_faster_one(
    runs: Path, tmp_path: Path
) -> None:
    run = run_of(runs, "llama3.1-8b-full-Offline/performance")
    result = RunResult.read(run)
    assert result.performance is not None
    faster = attrs.evolve(result.performance, value=result.performance.value * 2)
    attrs.evolve(result, performance=faster).write()
    rewrite(run / DETAIL, {faster.key: faster.value})
    found = staged(runs, tmp_path / "tree")
    assert any("TEST06" in e.what and "not what was audited" in e.why for e in found.left)
    assert not list((tmp_path / "tree").rglob("Offline/TEST06"))


def test_an_audit_that_names_no_performance_run_vouches_for_none(
    runs: Path, tmp_path: Path
) -> None:
    (folder,) = runs.glob("*/llama3.1-8b-full-Offline-*/TEST06")
    edit(folder / "audit.json", runs={})
    found = staged(runs, tmp_path / "tree")
    assert any("which performance run" in each.why for each in found.left)
    assert not list((tmp_path / "tree").rglob("Offline/TEST06"))


def test_the_working_directory_may_be_the_tree(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    monkeypatch.chdir(tree)
    assert staged(runs, Path()).tree == tree
    assert (tree / "open/ACME").is_dir()


def test_a_power_measurement_of_any_workload_asks_for_the_keys_of_power(
    runs: Path, tmp_path: Path
) -> None:
    for mode in ("performance", "accuracy"):
        directory = run_of(runs, f"whisper-full-Offline/{mode}")
        for name in ("run.json", "result.json"):
            workload = json.loads((directory / name).read_text())["workload"]
            edit(directory / name, workload={**workload, "power": True})
    staged(runs, tmp_path / "tree")
    path = tmp_path / f"tree/open/ACME/systems/{SYSTEM}.json"
    assert set(load_round("v6.1").system_description.power) <= set(json.loads(path.read_text()))


def test_a_power_measurement_comes_along(runs: Path, tmp_path: Path) -> None:
    run = run_of(runs, "whisper-full-Offline/performance")
    for name in ("power/client.json", "ranging/spl.txt", "spl.txt", "analyzer_table.md"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("said")
    staged(runs, tmp_path / "tree")
    place = tmp_path / f"tree/open/ACME/results/{SYSTEM}/whisper/Offline"
    for name in ("power/client.json", "ranging/spl.txt", "run_1/spl.txt"):
        assert (place / "performance" / name).is_file()
    assert (place / "analyzer_table.md").is_file()


def test_an_older_round_has_its_files_of_measurements_in_both_places(
    runs: Path, tmp_path: Path
) -> None:
    for path in runs.rglob("*.json"):
        data = json.loads(path.read_text()) if path.name in ("run.json", "result.json") else {}
        if "workload" in data:
            edit(path, workload={**data["workload"], "round": "v5.1"})
    stage(
        [runs],
        tmp_path / "tree",
        plugins=Plugins.from_environment(),
        round="v5.1",
        division=Division.OPEN,
        submitter=SUBMITTER,
        fields=FIELDS,
    )
    place = f"{SYSTEM}/whisper/Offline"
    for name in (
        f"measurements/{place}/{SYSTEM}_Offline.json",
        f"measurements/{place}/user.conf",
        f"results/{place}/measurements.json",
        f"results/{place}/user.conf",
        "code/README.md",
        "src/README.md",
    ):
        assert (tmp_path / "tree/open/ACME" / name).is_file(), name


# -- what cannot be staged -------------------------------------------------------------------------


def test_nothing_to_stage_says_why(runs: Path, tmp_path: Path) -> None:
    shutil.rmtree(runs)
    runs.mkdir()
    with pytest.raises(PrerequisiteError, match="nothing to stage"):
        staged(runs, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_runs_of_another_round_are_said_to_be_of_it(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"nothing to stage for v6\.0") as caught:
        staged(runs, tmp_path / "tree", round="v6.0")
    assert caught.value.remedy == "the runs there are of v6.1: name it with --round"


def test_a_folder_that_is_not_there_is_said_to_be_none(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="nothing to stage") as caught:
        staged(tmp_path / "nowhere", tmp_path / "tree")
    assert f"there is no folder {tmp_path / 'nowhere'}" in str(caught.value.remedy)


def test_a_damaged_run_is_left_out_and_the_others_are_staged(runs: Path, tmp_path: Path) -> None:
    (run_of(runs, "whisper-full-Offline/performance") / "run.json").write_text("{")
    found = staged(runs, tmp_path / "tree")
    assert len(found.entries) == 2
    assert any("run.json cannot be read" in each.why for each in found.left)


@pytest.mark.parametrize(
    "name",
    [
        "performance/mlperf_log_summary.txt",
        "performance/mlperf_log_detail.txt",
        "performance/user.conf",
        "accuracy/mlperf_log_accuracy.json",
        "accuracy/accuracy.txt",
    ],
)
def test_a_run_that_lacks_a_file_is_left_out_and_the_others_are_staged(
    runs: Path, tmp_path: Path, name: str
) -> None:
    mode, _, file = name.partition("/")
    (run_of(runs, f"whisper-full-Offline/{mode}") / file).unlink()
    found = staged(runs, tmp_path / "tree")
    assert len(found.entries) == 2
    assert any(each.why == f"{file} is missing" for each in found.left)


def test_a_tree_that_a_killed_process_had_put_aside_comes_back(runs: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    staged(runs, tree)
    tree.rename(tmp_path / ".tree.old")
    (tmp_path / ".tree.staging/open").mkdir(parents=True)
    with pytest.raises(PrerequisiteError, match="has a submission"):
        staged(runs, tree)
    assert (tree / "open/ACME").is_dir()
    assert not list(tmp_path.glob(".tree.[os]*"))


def test_two_processes_do_not_write_one_tree(runs: Path, tmp_path: Path) -> None:
    with (
        alone_at(tmp_path / "tree"),
        pytest.raises(PrerequisiteError, match="another process is writing"),
    ):
        staged(runs, tmp_path / "tree")
    assert staged(runs, tmp_path / "tree").entries


@pytest.mark.parametrize("inside", ["tree", "runs", "password"])
def test_source_code_that_holds_what_is_none_of_it_is_refused(
    runs: Path, tmp_path: Path, inside: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    place = {name: tmp_path / name for name in ("tree", "runs", "password")}
    place[inside] = source / inside
    if inside == "runs":
        runs.rename(place["runs"])
    with pytest.raises(PrerequisiteError, match=f"{inside} in it, which would be submitted"):
        staged(place["runs"], place["tree"], source=source, private=[place["password"]])
    assert not place["tree"].exists()


@pytest.mark.parametrize("other", ["llama3.1-8b-full-Server", "llama3.1-8b-full-Offline"])
def test_a_run_with_another_runs_log_is_left_out(runs: Path, tmp_path: Path, other: str) -> None:
    log = run_of(runs, "whisper-full-Offline/performance") / DETAIL
    shutil.copy(run_of(runs, f"{other}/performance") / DETAIL, log)
    found = staged(runs, tmp_path / "tree")
    assert not any("whisper" in entry for entry in found.entries)
    assert any("its log is of another run" in each.why for each in found.left)


def test_a_run_whose_figure_no_float_holds_is_left_out(runs: Path, tmp_path: Path) -> None:
    run = run_of(runs, "whisper-full-Offline/performance")
    performance = RunResult.read(run).performance
    assert performance is not None
    rewrite(run / DETAIL, {performance.key: 10**400})
    found = staged(runs, tmp_path / "tree")
    assert any("many digits" in each.why for each in found.left)


@pytest.mark.parametrize("content", [b"", b"half a line", b":::MLLOG {}\n"])
def test_a_run_with_a_damaged_log_is_left_out(runs: Path, tmp_path: Path, content: bytes) -> None:
    (run_of(runs, "whisper-full-Offline/performance") / DETAIL).write_bytes(content)
    found = staged(runs, tmp_path / "tree")
    assert not any("whisper" in entry for entry in found.entries)
    assert any("cannot be read" in each.why for each in found.left)


def test_two_machines_of_one_name_are_an_error(runs: Path, tmp_path: Path) -> None:
    path = run_of(runs, "whisper-full-Offline/performance") / "run.json"
    data = json.loads(path.read_text())
    data["system"]["facts"]["cpu.model"] = {"value": "another", "source": "x", "why": None}
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigurationError, match="two systems are named 'generic-CPU'"):
        staged(runs, tmp_path / "tree")


def test_an_incomplete_description_names_what_is_missing(runs: Path, tmp_path: Path) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != "cooling"}
    with pytest.raises(PrerequisiteError, match="not complete: cooling"):
        staged(runs, tmp_path / "tree", fields=fields)


@pytest.mark.parametrize("round_", ROUNDS)
def test_every_tiny_variant_says_of_its_model_what_a_submission_asks_for(round_: str) -> None:
    wanted = load_round(round_).submission.measurement_fields
    tiny = {
        each.name: each.variants[Variant.TINY]
        for each in Plugins.from_environment().benchmarks()
        if Variant.TINY in each.variants
    }
    assert "stable-diffusion-xl" in tiny
    for name, variant in tiny.items():
        assert set(measurements(name, variant, {}, wanted)) == set(wanted)


def test_an_unknown_measurement_names_the_nearest(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        staged(runs, tmp_path / "tree", measurements={"weight_data_type": "int8"})
    assert "weight_data_types" in str(caught.value)


def test_a_closed_submission_needs_source_and_calibration(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="source code"):
        staged(runs, tmp_path / "tree", "closed")


def test_a_submission_that_is_there_is_not_overwritten(runs: Path, tmp_path: Path) -> None:
    staged(runs, tmp_path / "tree")
    mine = tmp_path / "tree/open/ACME/documentation/mine.md"
    mine.write_text("mine")
    with pytest.raises(PrerequisiteError, match="has a submission"):
        staged(runs, tmp_path / "tree")
    assert mine.read_text() == "mine"
    staged(runs, tmp_path / "tree", replace=True)
    assert not mine.exists()


def test_other_divisions_and_submitters_stay(runs: Path, tmp_path: Path) -> None:
    make_tree(runs, tmp_path / "tree", "v6.1", "closed", cut=False)
    staged(runs, tmp_path / "tree")
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["closed", "open"]


def test_an_unwritable_place_is_one_error(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        staged(runs, tmp_path / "file" / "tree")


# -- cutting ---------------------------------------------------------------------------------------


def test_whole_logs_are_kept_and_cutting_again_changes_nothing(runs: Path, tmp_path: Path) -> None:
    rules = load_round("v6.1").submission
    staged(runs, tmp_path / "tree")
    before = {
        path.relative_to(tmp_path / "tree"): path.read_bytes()
        for path in (tmp_path / "tree").rglob("mlperf_log_accuracy.json")
    }
    cut = truncate(tmp_path / "tree", tmp_path / "whole", rules)
    assert len(cut) == len(before) == 4
    for name, content in before.items():
        assert (tmp_path / "whole" / name).read_bytes() == content
        assert (tmp_path / "tree" / name).stat().st_size <= rules.max_accuracy_log_bytes
    after = {p: p.read_bytes() for p in (tmp_path / "tree").rglob("*") if p.is_file()}
    assert truncate(tmp_path / "tree", tmp_path / "whole", rules) == []
    assert after == {p: p.read_bytes() for p in (tmp_path / "tree").rglob("*") if p.is_file()}


def test_another_log_in_the_backup_is_not_overwritten(runs: Path, tmp_path: Path) -> None:
    staged(runs, tmp_path / "tree")
    log = next((tmp_path / "tree").rglob("mlperf_log_accuracy.json"))
    kept = tmp_path / "whole" / log.relative_to(tmp_path / "tree")
    kept.parent.mkdir(parents=True)
    kept.write_text("another")
    before = log.read_bytes()
    with pytest.raises(IntegrityError, match="another log"):
        truncate(tmp_path / "tree", tmp_path / "whole", load_round("v6.1").submission)
    assert kept.read_text() == "another"
    assert log.read_bytes() == before


def test_a_full_disk_of_the_backup_is_one_error_that_names_it_and_cuts_nothing(
    runs: Path, tmp_path: Path
) -> None:
    staged(runs, tmp_path / "tree")
    logs = {path: path.read_bytes() for path in (tmp_path / "tree").rglob(ACCURACY_LOG)}
    with pytest.raises(PrerequisiteError, match="cannot be cut") as caught, full_disk():
        truncate(tmp_path / "tree", tmp_path / "whole", load_round("v6.1").submission)
    where = Path(str(caught.value.where))
    assert where.name == ACCURACY_LOG
    assert where.is_relative_to(tmp_path / "whole")
    assert not [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert {path: path.read_bytes() for path in logs} == logs


def test_what_is_no_tree_is_not_cut_and_that_is_said(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="this is no tree"):
        truncate(runs, tmp_path / "whole", load_round("v6.1").submission)


def test_a_submitters_name_is_a_folders(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a submitter cannot be named 'A CME'") as caught:
        staged(runs, tmp_path / "tree", submitter="A CME")
    assert caught.value.where == "--submitter"


def test_the_backup_may_not_be_in_the_tree(runs: Path, tmp_path: Path) -> None:
    staged(runs, tmp_path / "tree")
    with pytest.raises(PrerequisiteError, match="part of the submission"):
        truncate(tmp_path / "tree", tmp_path / "tree/whole", load_round("v6.1").submission)
