"""What the checker accepts, and that it names file, rule and remedy of what it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.errors import PrerequisiteError, UnknownNameError
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.submission.checking import check
from mlpinf_core.submission.checking.catalogue import rules

from .submission_trees import SYSTEM, add_audits, make_runs, make_tree

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.submission.model import Report


def assert_accepted(report: Report) -> None:
    assert report.ok, "\n".join(map(str, report.findings))
    assert report.results
    assert all(result.valid and result.value for result in report.results)


def test_a_good_closed_tree_is_accepted(good_tree: Path) -> None:
    report = check(good_tree, round="v6.1", backup=good_tree.with_name("tree-whole"))
    assert_accepted(report)
    assert {result.model for result in report.results} == {"llama3.1-8b", "whisper"}


def test_a_warning_is_no_error(good_tree: Path, tmp_path: Path) -> None:
    from .damages import copy_of

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


def test_another_rounds_rules_find_its_seeds(good_tree: Path) -> None:
    assert "seeds" in check(good_tree, round="v6.0").rules()


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
    for accuracy in (tmp_path / "tree").rglob("accuracy") if images else ():
        (accuracy / "images").mkdir()
        for image in images:
            (accuracy / "images" / f"{image}.png").write_bytes(b"an image")
    report = check(tmp_path / "tree", round=round_, backup=tmp_path / "tree-whole")
    assert_accepted(report)
    assert {result.scenario for result in report.results} == set(scenarios)
