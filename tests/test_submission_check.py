"""What the checker accepts, and that it names file, rule and remedy of what it does not."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.errors import PrerequisiteError, UnknownNameError
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.submission.checking import accuracy, check
from mlpinf_core.submission.checking.catalogue import rules
from mlpinf_core.submission.checking.entry import Entry, models_of
from mlpinf_core.submission.checking.notes import Notes
from mlpinf_core.submission.checking.performance import check_performance
from mlpinf_core.submission.layout import SubmitterPlace
from mlpinf_core.submission.model import Severity
from mlpinf_core.submission.truncation import is_cut
from mlpinf_core.vocabulary import Scenario

from .damages import copy_of
from .submission_trees import (
    DETAIL,
    SUBMITTER,
    SYSTEM,
    add_audits,
    make_runs,
    make_tree,
    rewrite,
)

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.submission.model import Finding, Report


def assert_accepted(report: Report) -> None:
    assert report.ok, "\n".join(map(str, report.findings))
    assert report.results
    assert all(result.valid and result.value for result in report.results)


def test_a_good_closed_tree_is_accepted(good_tree: Path) -> None:
    report = check(good_tree, round="v6.1", backup=good_tree.with_name("tree-whole"))
    assert_accepted(report)
    assert {result.model for result in report.results} == {"llama3.1-8b", "whisper"}


def test_a_warning_is_no_error(good_tree: Path, tmp_path: Path) -> None:
    tree = copy_of(good_tree, tmp_path)
    path = tree / f"closed/ACME/systems/{SYSTEM}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "green"}))
    report = check(tree, round="v6.1")
    assert report.ok
    assert [finding.rule for finding in report.findings] == ["system-field"]


def test_every_rule_says_what_it_asks_and_what_to_do() -> None:
    for rule in rules().values():
        assert rule.asks
        assert rule.remedy


def test_a_tree_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no such folder"):
        check(tmp_path / "nothing", round="v6.1")


def test_an_unknown_round_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        check(tmp_path, round="v9.9")


def test_a_submitter_that_the_tree_does_not_have_is_one_error(good_tree: Path) -> None:
    with pytest.raises(UnknownNameError, match="ACNE") as caught:
        check(good_tree, round="v6.1", submitter="ACNE")
    assert "ACME" in str(caught.value.remedy)
    assert_accepted(check(good_tree, round="v6.1", submitter="ACME"))


def test_a_whole_log_that_the_backup_does_not_have_is_named(
    good_tree: Path, tmp_path: Path
) -> None:
    backup = copy_of(good_tree.with_name("tree-whole"), tmp_path)
    cut = next(p for p in good_tree.rglob("accuracy/mlperf_log_accuracy.json") if is_cut(p))
    (backup / cut.relative_to(good_tree)).unlink()
    report = check(good_tree, round="v6.1", backup=backup)
    (finding,) = report.errors()
    assert (finding.rule, finding.path) == (
        "accuracy-hash",
        cut.relative_to(good_tree).as_posix(),
    )


def test_a_pipe_where_a_file_belongs_is_named_and_not_waited_for(
    good_tree: Path, tmp_path: Path
) -> None:
    tree = copy_of(good_tree, tmp_path)
    text = tree / f"closed/{SUBMITTER}/results/{SYSTEM}/whisper/Offline/accuracy/accuracy.txt"
    text.unlink()
    os.mkfifo(text)
    assert "unreadable" in {f.rule for f in check(tree, round="v6.1").errors()}


def test_another_rounds_rules_find_its_seeds_and_say_whose_they_are(good_tree: Path) -> None:
    found = [f for f in check(good_tree, round="v6.0").errors() if f.rule == "seeds"]
    assert found
    assert all(", v6.1's, and v6.0's is" in finding.message for finding in found)


# -- over a network --------------------------------------------------------------------------------


ASKED = dict.fromkeys(load_round("v6.1").system_description.network, "N/A")
"""Every key that is asked where anything is said of a network."""


def described(tree: Path, **values: object) -> list[Finding]:
    """The findings, with more in the description; the tree stays as it was."""
    (path,) = tree.glob(f"*/{SUBMITTER}/systems/{SYSTEM}.json")
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), **values}))
    found = check(tree, round="v6.1").findings
    path.write_text(before)
    return list(found)


@pytest.mark.parametrize("said", ["True", "true", "TRUE ", True])
def test_a_network_in_the_closed_division_is_one_clear_error(
    said: object, good_tree: Path, tmp_path: Path
) -> None:
    (found,) = described(copy_of(good_tree, tmp_path), is_network=said)
    assert (found.rule, found.severity) == ("network", Severity.ERROR)
    assert repr(said) in found.message


@pytest.mark.parametrize("said", ["True", "true "])
def test_a_network_in_the_open_division_is_a_warning_that_its_rules_are_not_looked_at(
    said: str, open_tree: Path
) -> None:
    (found,) = described(open_tree, **(ASKED | {"is_network": said}))
    assert (found.rule, found.severity) == ("network", Severity.WARNING)
    assert "not looked at" in found.message
    (missing, _) = described(open_tree, is_network=said)
    assert (missing.rule, missing.severity) == ("system-field", Severity.ERROR)
    assert "'network_type' is asked" in missing.message
    assert "leave" not in missing.remedy


@pytest.mark.parametrize("said", ["false", "No", " 0", "N/A"])
@pytest.mark.parametrize("division", ["good_tree", "open_tree"])
def test_a_denied_network_is_accepted_with_every_key_that_is_then_asked(
    said: str, division: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tree = copy_of(request.getfixturevalue(division), tmp_path / "own")
    assert described(tree, **(ASKED | {"is_network": said})) == []
    (found,) = described(tree, is_network=said)
    assert (found.rule, found.severity) == ("system-field", Severity.ERROR)
    assert "'network_type' is asked" in found.message
    assert found.remedy == "leave is_network out"


@pytest.mark.parametrize("said", ["yes", "1", "on", "maybe", "not networked", " "])
def test_any_other_word_is_no_network_to_the_official_checkers_and_a_warning(
    said: str, good_tree: Path, tmp_path: Path
) -> None:
    (found,) = described(copy_of(good_tree, tmp_path), **(ASKED | {"is_network": said}))
    assert (found.rule, found.severity) == ("system-word", Severity.WARNING)
    assert "counts as no network" in found.message


@pytest.mark.parametrize("said", [False, 1, 2.5, ["false"], {"a": 1}])
def test_no_network_that_is_no_text_stops_the_official_checker_and_is_named(
    said: object, good_tree: Path, tmp_path: Path
) -> None:
    (found,) = described(copy_of(good_tree, tmp_path), is_network=said)
    assert (found.rule, found.severity) == ("system-field", Severity.ERROR)
    assert "a text is expected" in found.message


@pytest.mark.parametrize("said", ["", None])
def test_nothing_said_of_a_network_is_fine(
    said: str | None, good_tree: Path, tmp_path: Path
) -> None:
    assert described(copy_of(good_tree, tmp_path), is_network=said) == []


# -- the open division -----------------------------------------------------------------------------


@pytest.fixture
def open_tree(good_tree: Path, tmp_path: Path) -> Path:
    """The good tree in the open division, with a name of its own for whisper."""
    tree = copy_of(good_tree, tmp_path)
    (tree / "closed").rename(tree / "open")
    owner = tree / "open" / SUBMITTER
    description = owner / f"systems/{SYSTEM}.json"
    data = json.loads(description.read_text())
    description.write_text(json.dumps({**data, "division": "open"}))
    systems = owner / "results" / SYSTEM
    (systems / "whisper").rename(systems / "my-whisper")
    (owner / "model_mapping.json").write_text(json.dumps({"my-whisper": "whisper"}))
    return tree


def test_an_open_tree_with_names_of_its_own_is_accepted(open_tree: Path) -> None:
    report = check(open_tree, round="v6.1")
    assert_accepted(report)
    assert {result.benchmark for result in report.results} == {"llama3.1-8b", "my-whisper"}


def test_an_open_tree_needs_no_audits_no_set_of_scenarios_and_no_accuracy(open_tree: Path) -> None:
    results = open_tree / f"open/{SUBMITTER}/results/{SYSTEM}"
    for path in results.glob("*/*/TEST*"):
        shutil.rmtree(path)
    shutil.rmtree(results / "llama3.1-8b/Server")
    shutil.rmtree(open_tree / f"open/{SUBMITTER}/documentation")
    text = results / "llama3.1-8b/Offline/accuracy/accuracy.txt"
    text.write_text(text.read_text().replace("'rouge1': 3", "'rouge1': 1"))
    assert_accepted(check(open_tree, round="v6.1"))


@pytest.mark.parametrize(
    "mapping", ["{", "[]", '{"my-whisper": "murmur"}', '{"my-whisper": 1}', '{"rgat": "whisper"}']
)
def test_a_wrong_mapping_is_named(open_tree: Path, mapping: str) -> None:
    (open_tree / f"open/{SUBMITTER}/model_mapping.json").write_text(mapping)
    assert {"mapping", "benchmark-unknown"} <= check(open_tree, round="v6.1").rules()


def test_offline_needs_the_whole_data_set_in_the_open_division_too(open_tree: Path) -> None:
    log = open_tree / f"open/{SUBMITTER}/results/{SYSTEM}/my-whisper/Offline/performance/run_1"
    rewrite(log / DETAIL, {"generated_samples_per_query": 100})
    assert check(open_tree, round="v6.1").rules() == {"offline-samples"}


# -- rules that no damage of the good tree breaks --------------------------------------------------


def entry_of(tree: Path, round_: str, model: str, scenario: Scenario) -> Entry:
    """The good tree's first result, held to what another benchmark asks."""
    found = load_round(round_)
    place = SubmitterPlace(tree, found.submission, "closed", SUBMITTER)
    there = place.entry(SYSTEM, "llama3.1-8b", "Offline")
    return Entry(there, found, models_of(found)[model], scenario)


def test_missing_images_are_named(good_tree: Path) -> None:
    entry = entry_of(good_tree, "v6.0", "stable-diffusion-xl", Scenario.OFFLINE)
    notes = Notes(good_tree)
    accuracy.check_files(entry.place.accuracy, entry, notes)
    assert [finding.rule for finding in notes.findings] == ["images"]
    assert "10 of 10" in notes.findings[0].message


def test_queries_of_another_size_are_named(good_tree: Path, tmp_path: Path) -> None:
    tree = copy_of(good_tree, tmp_path)
    entry = entry_of(tree, "v6.1", "llama3.1-8b", Scenario.MULTI_STREAM)
    log = entry.place.performance / DETAIL
    rewrite(log, {"effective_samples_per_query": 4})
    notes = Notes(tree)
    check_performance(DetailLog.read(log), entry, notes)
    assert "samples-per-query" in {finding.rule for finding in notes.findings}


def test_what_cannot_be_read_is_named(good_tree: Path, tmp_path: Path) -> None:
    tree = copy_of(good_tree, tmp_path)
    text = tree / f"closed/{SUBMITTER}/results/{SYSTEM}/whisper/Offline/accuracy/accuracy.txt"
    text.unlink()
    text.mkdir()
    report = check(tree, round="v6.1")
    assert "unreadable" in {finding.rule for finding in report.errors()}
    assert len(report.results) == 3


def entries() -> list[object]:
    """Every benchmark and scenario of every round."""
    return [
        pytest.param(round_, name, id=f"{round_}-{name}")
        for round_ in ROUNDS
        for name in load_round(round_).benchmarks
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("round_", "benchmark"), entries())
def test_a_tree_of_every_benchmark_and_scenario_of_every_round_is_accepted(
    round_: str, benchmark: str, posing: None, tmp_path: Path
) -> None:
    rules = load_round(round_).benchmark(benchmark)
    scenarios = dict.fromkeys(
        scenario.value
        for table in (rules.scenarios_required, rules.scenarios_optional)
        for of_category in table.values()
        for scenario in of_category
    )
    make_runs(tmp_path / "runs", round_, benchmark, scenarios)
    add_audits(tmp_path / "runs")
    make_tree(tmp_path / "runs", tmp_path / "tree", round_, "closed")
    images = load_round(round_).submission.images.get(benchmark, ())
    for folder in (tmp_path / "tree").rglob("accuracy") if images else ():
        (folder / "images").mkdir()
        for image in images:
            (folder / "images" / f"{image}.png").write_bytes(b"an image")
    report = check(tmp_path / "tree", round=round_, backup=tmp_path / "tree-whole")
    assert_accepted(report)
    assert {result.scenario for result in report.results} == set(scenarios)
