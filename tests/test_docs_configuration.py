"""``docs/configuration.md`` has every key that can be set, as the code has it, and no other."""

from __future__ import annotations

import json
import os
import tomllib
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.benchmark import NoSettings
from mlpinf_core.config import dump
from mlpinf_core.config.overrides import PREFIX, environment_layer
from mlpinf_core.config.schema import TABLES, LoadGenSettings, RunSettings, SutSettings
from mlpinf_core.plugins import DISABLE_VARIABLE, Plugins
from mlpinf_core.scratch import VARIABLE

from .docs_pages import DOCS, ROOT, quoted, sections, table_rows

if TYPE_CHECKING:
    from mlpinf_core.config.dump import Key

PAGE = DOCS / "configuration.md"


def own_distributions() -> set[str]:
    """The distributions of this repository: only what they offer belongs in its documentation."""
    projects = [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    return {tomllib.loads(p.read_text(encoding="utf-8"))["project"]["name"] for p in projects}


def settings_classes() -> dict[tuple[str, type], set[str]]:
    """Table and settings class to the names of what has it: benchmarks, or a backend of some.

    Two plugins may each have a backend of one name, with settings of its own.
    """
    plugins, ours = Plugins.from_environment(), own_distributions()
    found: dict[tuple[str, type], set[str]] = {
        ("run", RunSettings): set(),
        ("loadgen", LoadGenSettings): set(),
        ("sut", SutSettings): set(),
    }
    for benchmark in plugins.benchmarks():
        if plugins.owner(benchmark.name).distribution in ours:
            found.setdefault(("benchmark", benchmark.settings), set()).add(benchmark.name)
            for backend in plugins.backends(benchmark.name):
                names = found.setdefault(("backend", backend.settings), set())
                names |= {backend.name, benchmark.name}
    return {key: names for key, names in found.items() if key[1] is not NoSettings}


def row(key: Key) -> list[str]:
    """A key as the page's tables have it."""
    default = "" if key.default is None else f"`{json.dumps(key.default)}`"
    return [f"`{key.key}`", key.type, default, key.unit or "", key.doc]


def documented() -> dict[tuple[str, frozenset[str]], list[list[str]]]:
    """Table and names in a heading (``[backend]`` ``echo`` of ``null``) to its rows."""
    found = {}
    for title, text in sections(PAGE, 3).items():
        names = quoted(title)
        tables = [table for table in TABLES if f"[{table}]" in names]
        if tables:
            rows = [cells for cells in table_rows(text) if cells[0].startswith("`")]
            found[tables[0], frozenset(names - {f"[{tables[0]}]"})] = rows
    return found


def test_every_settings_table_is_documented_and_no_other() -> None:
    in_code = {(table, frozenset(names)) for (table, _), names in settings_classes().items()}
    assert set(documented()) == in_code


@pytest.mark.parametrize(
    ("table", "kind"), [pytest.param(*key, id=key[1].__name__) for key in settings_classes()]
)
def test_a_settings_table_says_what_the_code_says(table: str, kind: type) -> None:
    names = frozenset(settings_classes()[table, kind])
    expected = [row(key) for key in dump.keys(kind, table)]
    text = "\n".join("| " + " | ".join(c.replace("|", r"\|") for c in r) + " |" for r in expected)
    assert documented()[table, names] == expected, f"the table should read:\n{text}"


def test_every_environment_variable_is_documented() -> None:
    assert {PREFIX, VARIABLE, DISABLE_VARIABLE} <= quoted(PAGE.read_text(encoding="utf-8"))


def test_the_environment_variable_in_the_example_is_a_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLPINF__LOADGEN__TARGET_QPS", "10")
    assert "MLPINF__LOADGEN__TARGET_QPS=10" in PAGE.read_text(encoding="utf-8")
    layer = environment_layer(os.environ)
    assert layer is not None
    assert layer.values["loadgen"]["target_qps"] == "10"
