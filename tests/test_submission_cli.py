"""``mlpinf submit`` on the command line, and the official checkers beside our own."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mlpinf_core.cli import cli, main
from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.submission.checking import check
from mlpinf_core.submission.checking.catalogue import rules
from mlpinf_core.submission.official import FOLDER, run_official
from mlpinf_core.submission.packing import pack

from .damages import RUN, copy_of
from .docs_pages import DOCS, prose, table_rows
from .submission_trees import DETAIL, FIELDS, rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

ROUND = ("--round", "v6.1")


def mlpinf(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], standalone_mode=False, obj=0)


def checkout(root: Path, new: str, old: str) -> Path:
    """A checkout whose checkers do what these programs do."""
    folder = root / "inference" / FOLDER
    (folder / "submission_checker").mkdir(parents=True)
    (folder / "submission_checker/__init__.py").write_text("")
    (folder / "submission_checker/main.py").write_text(new)
    (folder / "submission_checker_old.py").write_text(old)
    return root / "inference"


OK = "print('INFO:main:SUMMARY: submission looks OK')"
BAD = "print('ERROR:main:NoResults x'); print('ERROR:main:SUMMARY: submission has errors'); exit(1)"
CRASH = "{}['unknown-model']"


def test_every_rule_is_documented_and_no_other() -> None:
    rows = [c[0].strip("`") for c in table_rows(prose(DOCS / "submission.md"))]
    assert [row for row in rows if row in rules()] == list(rules())


def test_the_way_from_runs_to_an_archive(good_tree: Path, posing: None, tmp_path: Path) -> None:
    tree, archive = tmp_path / "tree", tmp_path / "ACME.tar.gz"
    fields = [part for key, said in FIELDS.items() for part in ("--field", f"{key}={said}")]
    owner = ("--division", "open", "--submitter", "ACME")
    runs = good_tree.with_name("runs")
    found = mlpinf("submit", "stage", runs, *ROUND, *owner, *fields, "--output", tree)
    assert "3 results" in found.output
    assert mlpinf("submit", "check", tree, *ROUND).return_value == 3
    refused = mlpinf("submit", "pack", tree, *ROUND, "--output", archive)
    assert isinstance(refused.exception, PrerequisiteError)
    assert not archive.exists()
    whole = tmp_path / "whole"
    assert "4 logs cut" in mlpinf("submit", "truncate", tree, *ROUND, "--backup", whole).output
    done = mlpinf("submit", "check", tree, *ROUND, "--backup", whole)
    assert done.return_value == 0, done.output
    (tmp_path / "password").write_text("secret\n")
    password = ("--password-file", tmp_path / "password")
    packed = mlpinf("submit", "pack", tree, *ROUND, "--output", archive, *password)
    assert "unpacked once more and compared" in packed.output
    into = tmp_path / "received"
    assert (
        "as they were packed"
        in mlpinf("submit", "verify", archive, *password, "--unpack", into).output
    )
    assert check(into, round="v6.1").ok


def test_the_report_is_json_as_well(good_tree: Path) -> None:
    data = json.loads(mlpinf("submit", "check", good_tree, *ROUND, "--json").output)
    assert data["ok"] is True
    assert len(data["results"]) == 3
    assert data["official"] == []


def test_a_finding_is_printed_with_file_rule_and_remedy(good_tree: Path, tmp_path: Path) -> None:
    tree = copy_of(good_tree, tmp_path)
    rewrite(tree / RUN / DETAIL, {"result_validity": "INVALID"})
    found = mlpinf("submit", "check", tree, *ROUND)
    assert found.return_value == 3
    assert f"error: {RUN}/{DETAIL}: the run is 'INVALID' [invalid]" in found.output
    assert "remedy:" in found.output


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_an_archive_whose_password_nobody_can_be_asked_for_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "tree/open").mkdir(parents=True)
    (tmp_path / "tree/open/note").write_text("x")
    archive = tmp_path / "ACME.tar.gz"
    pack(tmp_path / "tree", archive, password="secret")
    found = mlpinf("submit", "verify", archive)
    assert isinstance(found.exception, PrerequisiteError)
    assert "--password-file" in str(found.exception)


def test_a_wrong_assignment_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = ["--division", "open", "--submitter", "ACME", "--output", str(tmp_path / "tree")]
    with pytest.raises(SystemExit) as stopped:
        main(["submit", "stage", *owner, "--field", "cooling"])
    assert stopped.value.code == 2
    assert "write --field KEY=VALUE" in capsys.readouterr().err


# -- the official checkers -------------------------------------------------------------------------


def test_both_official_checkers_are_run_and_compared(good_tree: Path, tmp_path: Path) -> None:
    found = run_official(checkout(tmp_path, OK, BAD), good_tree, round="v6.1")
    report = check(good_tree, round="v6.1")
    assert [(each.ok, each.agrees(report)) for each in found] == [(True, True), (False, False)]
    assert all("--version" in each.command and "v6.1" in each.command for each in found)
    assert not any("skip" in part for each in found for part in each.command)


def test_a_checker_that_crashes_comes_to_no_verdict(good_tree: Path, tmp_path: Path) -> None:
    first, second = run_official(checkout(tmp_path, CRASH, OK), good_tree, round="v6.1")
    assert first.ok is None
    assert "KeyError: 'unknown-model'" in first.lines[-1]
    assert second.ok is True


def test_a_disagreement_is_said_and_ends_with_3(good_tree: Path, tmp_path: Path) -> None:
    place = checkout(tmp_path, OK, BAD)
    found = mlpinf("submit", "check", good_tree, *ROUND, "--official", place)
    assert found.return_value == 3
    assert "official submission_checker: looks OK (agrees with ours)" in found.output
    assert "official submission_checker_old: has errors (disagrees with ours)" in found.output


def test_a_checkout_without_checkers_is_one_error(good_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="no submission checker"):
        run_official(tmp_path, good_tree, round="v6.1")


def test_an_interpreter_that_is_not_there_is_one_error(good_tree: Path, tmp_path: Path) -> None:
    place = checkout(tmp_path, OK, OK)
    with pytest.raises(PrerequisiteError, match="cannot be run"):
        run_official(place, good_tree, round="v6.1", python=str(tmp_path / "python"))


def test_a_missing_module_of_the_checker_names_what_to_install(
    good_tree: Path, tmp_path: Path
) -> None:
    place = checkout(tmp_path, "raise ModuleNotFoundError(\"No module named 'yaml'\")", OK)
    with pytest.raises(PrerequisiteError) as caught:
        run_official(place, good_tree, round="v6.1", python=sys.executable)
    assert "pip install pyyaml" in str(caught.value)
