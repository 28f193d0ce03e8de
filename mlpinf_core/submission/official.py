"""The official checkers, run on a tree, and their verdicts beside ours.

They live in a checkout of mlcommons/inference, which is the user's; nothing of it is copied here.
Both run in a process of their own, with no flag that skips a check.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.submission.model import Report

FOLDER: Final = "tools/submission"
_NEW: Final = ("submission_checker/main.py", ("-m", "submission_checker.main"))
_OLD: Final = ("submission_checker_old.py", ("submission_checker_old.py",))
_OK: Final = "SUMMARY: submission looks OK"
_BAD: Final = "SUMMARY: submission has errors"
_TIMEOUT: Final = 3600


@attrs.frozen
class OfficialVerdict:
    """What one official checker said.

    Attributes:
        checker: ``submission_checker`` or ``submission_checker_old``.
        ok: whether the tree looks OK to it; None where it came to no verdict.
        command: as it was called.
        lines: its errors, and what it says at its end.
    """

    checker: str
    ok: bool | None
    command: tuple[str, ...]
    lines: tuple[str, ...]

    def agrees(self, report: Report) -> bool:
        """Whether it says what our own checker says."""
        return self.ok is report.ok


def run_official(
    checkout: Path,
    tree: Path,
    *,
    round: str,  # noqa: A002 - the word of the field
    python: str | None = None,
) -> list[OfficialVerdict]:
    """Run those of the two checkers that the checkout has.

    Args:
        checkout: of mlcommons/inference.
        tree: the folder that holds the divisions.
        round: of the rules.
        python: the interpreter to run them with; it needs PyYAML. This one's by default.

    Raises:
        PrerequisiteError: the checkout has neither, or the interpreter cannot run them.
    """
    folder = checkout / FOLDER
    # They are run in a folder of their own, where a relative path would lead elsewhere.
    interpreter = shutil.which(python or sys.executable) or python or sys.executable
    found = []
    for file, arguments in (_NEW, _OLD):
        if (folder / file).is_file():
            command = (str(Path(interpreter).absolute()), *arguments)
            found.append(_run(command, folder, tree.resolve(), round))
    if not found:
        raise PrerequisiteError(
            "there is no submission checker",
            where=str(folder),
            remedy="name a checkout of https://github.com/mlcommons/inference with --official",
        )
    return found


def _run(command: Sequence[str], folder: Path, tree: Path, round_: str) -> OfficialVerdict:
    with tempfile.TemporaryDirectory(prefix="mlpinf-official-") as scratch:
        full = (*command, "--input", str(tree), "--version", round_)
        full += ("--csv", str(Path(scratch) / "summary.csv"))
        try:
            done = subprocess.run(
                full,
                cwd=folder,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT,
                check=False,
            )
        except OSError as error:
            raise PrerequisiteError(
                f"the official checker cannot be run: {error.strerror or error}", where=command[0]
            ) from error
        except subprocess.TimeoutExpired:
            raise PrerequisiteError(
                f"the official checker took more than {_TIMEOUT} s", where=str(folder)
            ) from None
    lines = done.stdout.decode(errors="replace").splitlines()
    if any("No module named 'yaml'" in line for line in lines):
        raise PrerequisiteError(
            "the official checker needs PyYAML",
            where=command[0],
            remedy="pip install pyyaml, or name an interpreter that has it: --official-python",
        )
    ok = True if any(_OK in line for line in lines) else None
    if any(_BAD in line for line in lines):
        ok = False
    errors = [line for line in lines if "ERROR" in line]
    if ok is None:
        errors += lines[-3:]  # the end of a traceback
    name = Path(command[-1]).stem.partition(".")[0]
    return OfficialVerdict(
        name, ok if done.returncode == 0 or not ok else None, full, tuple(errors)
    )
