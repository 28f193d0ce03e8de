"""The plugin that ``docs/hooks.md`` builds up piece by piece keeps the rules for plugins."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.testing import RuleState, check_plugin
from mlpinf_core.testing.rules import RULES

from .docs_pages import DOCS, blocks, sections, table_rows

if TYPE_CHECKING:
    from .conftest import PluginPath


def pieces() -> str:
    """The page's Python up to where it tries the plugin."""
    before = [b.text for b in blocks(DOCS / "hooks.md", "python") if "Plugins([" not in b.text]
    return "".join(before)


@pytest.mark.slow
def test_the_plugin_of_the_hooks_page_keeps_every_rule(plugin_path: PluginPath) -> None:
    plugin_path.write("nearest", pieces())
    report = check_plugin("nearest")
    broken = {r.rule.name: r.detail for r in report.results if r.state is not RuleState.PASSED}
    assert broken == {}


def test_the_project_file_of_the_plugins_page_declares_that_plugin() -> None:
    (block,) = blocks(DOCS / "plugins.md", "toml")
    project = tomllib.loads(block.text)
    assert project["project"]["entry-points"]["mlpinf"] == {"nearest": "mlpinf_nearest"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "src/mlpinf_nearest"
    ]
    assert project["project"]["name"] == "mlpinf-nearest"


def test_every_rule_of_the_conformance_kit_is_documented_and_no_other() -> None:
    rows = table_rows(sections(DOCS / "plugins.md", 2)["Check it"])
    documented = [cells for cells in rows if len(cells) == 2 and cells[0].startswith("`")]
    expected = [[f"`{rule.name}`", rule.statement] for rule in RULES]
    assert [cells for cells in documented if not cells[0].startswith("`--")] == expected
