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

from .damages import ACCURACY, LLM, OFFLINE, OWNER, copy_of
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
)
FOLDERS = (
    f"{OWNER}/measurements",
    f"{OWNER}/old",
    f"{OWNER}/systems/old",
    f"{OFFLINE}/old",
    f"{OFFLINE}/TEST99",
    f"{OFFLINE}/performance/run_2",
    f"{ACCURACY}/old",
)
FITTING = (
    f"{OWNER}/LICENSE.md",
    f"{OWNER}/calibration.md",
    f"{OWNER}/systems/{SYSTEM}_power.yaml",
    f"{RESULTS}/{SYSTEM}/privateid.json",
    f"{LLM}/analyzer_table.md",
    f"{OFFLINE}/mlperf.conf",
    f"{ACCURACY}/images/1.png",
)


def put(tree: Path, name: str) -> None:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def test_every_stray_is_a_warning_that_names_it_and_the_tree_is_accepted(
    good_tree: Path, tmp_path: Path
) -> None:
    tree = copy_of(good_tree, tmp_path)
    for name in FILES:
        put(tree, name)
    for name in FOLDERS:
        put(tree, f"{name}/a")
    report = check(tree, round="v6.1")
    assert report.ok, report.findings
    assert {f.path for f in report.findings if f.rule == "stray-file"} == set(FILES)
    assert {f.path for f in report.findings if f.rule == "stray-folder"} == set(FOLDERS)
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
    assert len(check(tree, round="v6.1").findings) == SHOWN


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
