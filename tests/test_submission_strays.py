"""What belongs to nothing is named: a warning where the official checkers would not look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpinf_core.rules import load_round
from mlpinf_core.submission.checking import check
from mlpinf_core.submission.checking.entry import Entry, models_of
from mlpinf_core.submission.checking.notes import Notes
from mlpinf_core.submission.checking.strays import SHOWN, check_strays
from mlpinf_core.submission.layout import SubmitterPlace
from mlpinf_core.vocabulary import Scenario

from .damages import ACCURACY, LLM, OFFLINE, OWNER, WHISPER, copy_of
from .submission_trees import SUBMITTER, SYSTEM

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.submission.model import Finding

RESULTS = f"{OWNER}/results"
FILES = (
    f"{RESULTS}/foo.txt",
    f"{RESULTS}/{SYSTEM}/foo.txt",
    f"{LLM}/foo.txt",
    f"{OFFLINE}/foo.txt",
    f"{OFFLINE}/performance/foo.txt",
    f"{OWNER}/foo.sh",
    f"{OWNER}/systems/foo.txt",
    f"{OFFLINE}/TEST06/foo.txt",
    f"{OFFLINE}/TEST06/accuracy/foo.txt",
    f"{OFFLINE}/TEST06/performance/foo.txt",
    f"{OFFLINE}/TEST01/performance/run_1/foo.txt",
    f"{WHISPER}/TEST01/foo.txt",
)
FOLDERS = (
    f"{OWNER}/measurements",
    f"{OWNER}/old",
    f"{OWNER}/systems/old",
    f"{OFFLINE}/old",
    f"{OFFLINE}/TEST99",
    f"{OFFLINE}/performance/run_2",
    f"{ACCURACY}/old",
    f"{OFFLINE}/TEST06/old",
    f"{OFFLINE}/TEST06/accuracy/old",
    f"{WHISPER}/TEST01/performance/run_2",
    f"{WHISPER}/TEST01/performance/run_1/old",
)
FITTING = (
    f"{OWNER}/LICENSE.md",
    f"{OWNER}/calibration.md",
    f"{OWNER}/systems/{SYSTEM}_power.yaml",
    f"{RESULTS}/{SYSTEM}/privateid.json",
    f"{LLM}/analyzer_table.md",
    f"{OFFLINE}/mlperf.conf",
    f"{OFFLINE}/TEST06/accuracy/mlperf_log_accuracy.json",
    f"{WHISPER}/TEST01/accuracy/baseline_accuracy.txt",
    f"{WHISPER}/TEST01/performance/run_1/mlperf_log_trace.json",
    f"{ACCURACY}/images/1.png",
)


def put(tree: Path, name: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


@pytest.mark.parametrize(
    ("rule", "names", "below"), [("stray-file", FILES, ""), ("stray-folder", FOLDERS, "/a")]
)
def test_every_stray_is_a_warning_that_names_it_and_the_tree_is_accepted(
    rule: str, names: tuple[str, ...], below: str, good_tree: Path, tmp_path: Path
) -> None:
    tree = copy_of(good_tree, tmp_path)
    for name in names:
        put(tree, f"{name}{below}")
    report = check(tree, round="v6.1")
    assert report.ok, report.findings
    assert {(f.rule, f.path) for f in report.findings} == {(rule, name) for name in names}
    assert all("move it out of the tree" in finding.remedy for finding in report.findings)


def test_what_has_a_place_in_the_layout_is_no_stray(good_tree: Path, tmp_path: Path) -> None:
    tree = copy_of(good_tree, tmp_path)
    for name in FITTING:
        put(tree, name)
    assert check(tree, round="v6.1").findings == ()


def test_a_thousand_strays_are_one_mistake(good_tree: Path, tmp_path: Path) -> None:
    tree = copy_of(good_tree, tmp_path)
    for number in range(1000):
        put(tree, f"{OFFLINE}/{number}.txt")
    *shown, last = check(tree, round="v6.1").findings[::-1]
    assert len(shown) == SHOWN
    assert (last.path, last.message) == (OWNER, f"{1000 - SHOWN} more in it belong to nothing")


# -- the layout of v5.1, which has measurements and compliance tests in folders of their own ------


def strays(tree: Path) -> list[Finding]:
    rules = load_round("v5.1")
    owner = SubmitterPlace(tree, rules.submission, "closed", SUBMITTER)
    place = owner.entry(SYSTEM, "llama3.1-8b", "Offline")
    entry = Entry(place, rules, models_of(rules)["llama3.1-8b"], Scenario.OFFLINE)
    notes = Notes(tree)
    check_strays(owner, [entry], notes)
    return notes.findings


@pytest.fixture
def old_tree(tmp_path: Path) -> Path:
    for kind, name in (
        ("results", "performance/run_1/a"),
        ("measurements", "README.md"),
        ("measurements", f"{SYSTEM}_Offline.json"),
        ("compliance", "TEST06/verify_accuracy.txt"),
    ):
        put(tmp_path, f"{OWNER}/{kind}/{SYSTEM}/llama3.1-8b/Offline/{name}")
    put(tmp_path, f"{OWNER}/code/README.md")
    return tmp_path


def test_the_older_layout_has_no_strays_of_its_own(old_tree: Path) -> None:
    put(old_tree, f"{OWNER}/measurements/{SYSTEM}/llama3.1-8b/Offline/mlperf.conf")
    put(old_tree, f"{OWNER}/systems/{SYSTEM}_power.yaml")
    assert strays(old_tree) == []


@pytest.mark.parametrize("kind", ["measurements", "compliance"])
@pytest.mark.parametrize(
    "place", ["other", f"{SYSTEM}/rgat", f"{SYSTEM}/llama3.1-8b/Server"], ids=["1", "2", "3"]
)
def test_a_folder_without_a_result_is_named_at_its_top(
    kind: str, place: str, old_tree: Path
) -> None:
    put(old_tree, f"{OWNER}/{kind}/{place}/a/b/c")
    (found,) = strays(old_tree)
    assert (found.rule, found.path) == ("stray-folder", f"{OWNER}/{kind}/{place}")
    assert "no result" in found.message


@pytest.mark.parametrize("place", ["", f"{SYSTEM}/", f"{SYSTEM}/llama3.1-8b/Offline/"])
def test_a_file_among_the_measurements_is_named(place: str, old_tree: Path) -> None:
    put(old_tree, f"{OWNER}/measurements/{place}foo.txt")
    (found,) = strays(old_tree)
    assert (found.rule, found.path) == ("stray-file", f"{OWNER}/measurements/{place}foo.txt")


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("stray-file", "foo.txt"),
        ("stray-folder", "TEST99"),
        ("stray-file", "TEST06/foo.txt"),
        ("stray-folder", "TEST06/old"),
        ("stray-file", "TEST06/accuracy/foo.txt"),
    ],
)
@pytest.mark.parametrize("kind", ["compliance", "results"])
def test_what_lies_among_the_compliance_tests_is_named(
    kind: str, rule: str, name: str, old_tree: Path
) -> None:
    path = f"{OWNER}/{kind}/{SYSTEM}/llama3.1-8b/Offline/{name}"
    put(old_tree, path if rule == "stray-file" else f"{path}/a")
    (found,) = strays(old_tree)
    assert (found.rule, found.path) == (rule, path)


def test_a_tests_run_is_looked_at_where_no_error_is_looked_for(old_tree: Path) -> None:
    name = f"{SYSTEM}/llama3.1-8b/Offline/TEST06/performance/run_1/foo.txt"
    put(old_tree, f"{OWNER}/compliance/{name}")  # an error, and found elsewhere
    assert strays(old_tree) == []
    put(old_tree, f"{OWNER}/results/{name}")
    (found,) = strays(old_tree)
    assert (found.rule, found.path) == ("stray-file", f"{OWNER}/results/{name}")
