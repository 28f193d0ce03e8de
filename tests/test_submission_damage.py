"""A damaged tree is never accepted, the rule that it breaks is named, and nothing ever crashes."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core.submission.checking import check
from mlpinf_core.submission.checking.catalogue import rules

from .damages import DAMAGES, Damage, copy_of


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_each_kind_of_damage_is_caught_by_its_rule(
    damage: Damage, good_tree: Path, tmp_path: Path
) -> None:
    tree = copy_of(good_tree, tmp_path)
    shutil.copytree(good_tree.with_name("tree-whole"), tmp_path / "tree-whole")
    damage.do(tree)
    report = check(tree, round="v6.1", backup=tmp_path / "tree-whole")
    assert damage.rule in {finding.rule for finding in report.errors()}, report.findings
    assert not any("cannot be judged" in finding.message for finding in report.findings)
    for finding in report.findings:
        assert finding.remedy
        assert not Path(finding.path).is_absolute()


def test_there_are_sixty_kinds_of_damage_and_every_rule_has_one() -> None:
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES) >= 60
    tested_elsewhere = {"stray-folder", "unreadable", "samples-per-query", "images"}
    assert {damage.rule for damage in DAMAGES} | tested_elsewhere == set(rules())


@settings(max_examples=25)
@given(
    chosen=st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=4, unique_by=lambda d: d.name),
    noise=st.integers(0, 2**32),
    share=st.floats(0, 1),
)
def test_whatever_is_done_to_a_tree_the_checker_neither_crashes_nor_accepts_it(
    good_tree: Path, chosen: list[Damage], noise: int, share: float
) -> None:
    with tempfile.TemporaryDirectory() as place:
        tree = copy_of(good_tree, Path(place))
        shutil.copytree(good_tree.with_name("tree-whole"), Path(place) / "tree-whole")
        for damage in chosen:
            with contextlib.suppress(OSError, AssertionError, IndexError, ValueError):
                damage.do(tree)  # another one may have taken what this one damages
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        dice = random.Random(noise)
        if files:
            path = dice.choice(files)
            content = bytearray(path.read_bytes()[: int(share * min(path.stat().st_size, 1 << 20))])
            for _ in range(min(len(content), 5)):
                content[dice.randrange(len(content))] = dice.randrange(256)
            path.write_bytes(bytes(content))
        report = check(tree, round="v6.1", backup=Path(place) / "tree-whole")
        assert not report.ok
        assert not any("cannot be judged" in finding.message for finding in report.findings)
