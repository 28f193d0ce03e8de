"""The documentation leaves nothing out, and documents nothing that is not there."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import click
import pytest

import mlpinf_core
from mlpinf_core import errors, hookspecs
from mlpinf_core.cli import cli
from mlpinf_core.errors import ExitCode, MlpinfError
from mlpinf_core.plugins import Plugins, PluginState
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_core.vocabulary import Scenario

from .docs_pages import DOCS, ROOT, name_of, pages, prose, quoted, sections, table_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORE: Final = ROOT / "mlpinf_core"


# -- hooks -----------------------------------------------------------------------------------------


def hooks() -> list[str]:
    return [name for name, thing in vars(hookspecs).items() if hasattr(thing, "mlpinf_spec")]


def documented_hooks() -> dict[str, str]:
    """Hook to the text of its section."""
    return {
        title.strip("`"): text
        for title, text in sections(DOCS / "hooks.md", 2).items()
        if re.fullmatch(r"`\w+`", title)
    }


def test_every_hook_is_documented_and_no_other() -> None:
    assert sorted(documented_hooks()) == sorted(hooks())


@pytest.mark.parametrize("hook", hooks())
def test_a_hook_is_documented_with_its_contract_and_an_example(hook: str) -> None:
    text = documented_hooks()[hook]
    for part in ("**When:**", "**Process:**", "**Arguments:**", "**Returns:**", "**Raises:**"):
        assert part in text, part
    assert f"@hookimpl\ndef {hook}(" in text


@pytest.mark.parametrize("hook", hooks())
def test_the_arguments_of_a_hook_are_documented(hook: str) -> None:
    arguments = getattr(hookspecs, hook).__code__.co_varnames
    contract = documented_hooks()[hook].partition("```")[0]
    stated = re.search(r"\*\*Arguments:\*\*(.*?)\n- \*\*", contract, re.DOTALL)
    assert stated is not None
    assert set(arguments) <= quoted(stated[1])
    assert bool(arguments) != (stated[1].strip() == "none.")


def test_the_five_are_named_in_the_readme() -> None:
    named = [cells[0].strip("`") for cells in table_rows(prose(ROOT / "README.md"))]
    assert [name for name in named if name in hookspecs.FIVE] == list(hookspecs.FIVE)


# -- command line ----------------------------------------------------------------------------------


def commands(group: click.Group = cli, prefix: str = "") -> dict[str, click.Command]:
    """Every command by what is typed for it: ``run``, ``system detect``."""
    context, found = click.Context(group), {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = command
    return found


def options_of(command: click.Command) -> set[str]:
    return {
        flag
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }


def known_options() -> set[str]:
    return set().union(*map(options_of, [cli, *commands().values()])) | {"-h", "--help"}


def text_of_all_pages() -> str:
    return "\n".join(prose(page) for page in pages())


def test_every_command_is_in_the_table_of_commands_and_no_other() -> None:
    table = sections(DOCS / "running.md", 2)["Commands"]
    named = [cells[0].strip("`") for cells in table_rows(table) if cells[0].startswith("`")]
    assert named == [f"mlpinf {name}" for name in commands()]


def options_in_tables(page: Path) -> set[str]:
    """The options that the first cells of a page's tables explain."""
    first_cells = " ".join(cells[0] for cells in table_rows(prose(page)))
    return {flag for text in quoted(first_cells) for flag in text.split() if flag.startswith("-")}


def test_every_option_of_run_is_explained_and_no_other() -> None:
    of_run = options_of(cli) | options_of(commands()["run"])
    assert options_in_tables(DOCS / "running.md") == of_run - {"--version"}


def test_every_option_of_check_is_explained_and_no_other() -> None:
    assert options_in_tables(DOCS / "plugins.md") == options_of(commands()["check"])


def test_every_other_option_is_explained_with_the_commands() -> None:
    text = sections(DOCS / "running.md", 2)["Commands"]
    others = known_options() - options_of(commands()["run"]) - options_of(commands()["check"])
    explained = {flag for flag in others if f"{flag}`" in text}
    assert explained == others - {"-v", "--verbose"}


def test_no_page_shows_an_option_that_does_not_exist() -> None:
    shown = re.findall(r"^(?:\$ )?mlpinf .*$", text_of_all_pages(), flags=re.MULTILINE)
    assert shown
    used = {flag for line in shown for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", line)}
    assert used - known_options() == set()


def test_every_command_that_prints_json_is_said_to() -> None:
    text = sections(DOCS / "running.md", 2)["Results for machines"]
    printing = {name for name, command in commands().items() if "--json" in options_of(command)}
    assert printing == quoted(text.partition("An error")[0]) & set(commands())


# -- errors ----------------------------------------------------------------------------------------


def error_classes() -> dict[str, type[MlpinfError]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, MlpinfError)
    }


def test_every_error_class_is_documented_with_its_exit_code_and_no_other() -> None:
    rows = table_rows(sections(DOCS / "errors.md", 2)["Classes"])
    documented = {cells[0].strip("`"): cells[1] for cells in rows if cells[0].startswith("`")}
    in_code = {name: str(int(kind.exit_code)) for name, kind in error_classes().items()}
    assert documented == in_code


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
def test_an_exit_code_is_documented(code: ExitCode) -> None:
    rows = table_rows(sections(DOCS / "running.md", 2)["Exit codes"])
    assert [str(int(code)), f"`{code.name}`"] in [cells[:2] for cells in rows]
    assert f"`{code.name}` {int(code)}" in sections(DOCS / "errors.md", 2)["Exit codes"]
    readme = sections(ROOT / "README.md", 2)["Exit codes"]
    assert str(int(code)) in [cells[0] for cells in table_rows(readme)]


def first_arguments(*functions: str) -> Iterator[tuple[str, str]]:
    """Function and literal first argument of every call of these in the core and the plugins."""
    sources = [CORE, *ROOT.glob("plugins/*/src")]
    for path in (path for source in sources for path in source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            name: Any = getattr(node.func, "id", None)
            first = node.args[0]
            if name in functions and isinstance(first, ast.Constant):
                yield name, str(first.value)


def cause_codes() -> set[str]:
    """The codes of causes, written where they are made."""
    causes = {code for _, code in first_arguments("Cause")}
    unreadable = {code for _, code in first_arguments("_unreadable")}
    failures = {f"query-{code}" for _, code in first_arguments("Failure", "UnfitError")}
    return causes | unreadable | failures


def test_every_cause_of_invalid_is_documented_and_no_other() -> None:
    rows = table_rows(sections(DOCS / "errors.md", 2)["Causes of INVALID"])
    documented = set().union(*(quoted(cells[0]) for cells in rows))
    assert documented == cause_codes()


def test_every_state_of_a_plugin_is_documented() -> None:
    rows = table_rows(sections(DOCS / "errors.md", 2)["Plugins"])
    named = set().union(*(quoted(cells[0]) for cells in rows))
    assert set(PluginState) - {PluginState.LOADED} <= named


# -- the Python API -------------------------------------------------------------------------------


def test_every_public_name_is_in_the_api_and_no_other() -> None:
    rows = table_rows(sections(DOCS / "api.md", 2)["Public names"])
    documented = [name for cells in rows for name in sorted(quoted(cells[1]))]
    assert sorted(documented) == sorted(mlpinf_core.__all__)


def test_every_argument_of_run_is_in_the_api_and_no_other() -> None:
    rows = table_rows(sections(DOCS / "api.md", 2)["Run"])
    documented = [cells[0].strip("`") for cells in rows if cells[0].startswith("`")]
    assert documented == list(inspect.signature(mlpinf_core.run).parameters)


# -- everything else -------------------------------------------------------------------------------


def modules() -> list[str]:
    found = pkgutil.walk_packages(mlpinf_core.__path__, "mlpinf_core.", onerror=lambda _: None)
    return sorted(module.name for module in found)


def test_every_module_of_the_core_is_in_the_architecture_and_no_other() -> None:
    named = {name for name in quoted(prose(DOCS / "architecture.md")) if "mlpinf_core." in name}
    assert sorted(named) == modules()


def test_support_names_every_benchmark_of_the_rounds_and_every_scenario() -> None:
    named = quoted(prose(DOCS / "support.md"))
    for name in ROUNDS:
        assert set(load_round(name).benchmarks) <= named
    first_cells = {cells[0] for cells in table_rows(prose(DOCS / "support.md"))}
    assert set(Scenario) <= first_cells
    assert set(ROUNDS) <= first_cells


def test_support_says_which_variants_can_be_run() -> None:
    rows = table_rows(sections(DOCS / "support.md", 2)["Benchmarks"])
    documented = {cells[0].strip("`"): cells[2:] for cells in rows}
    for benchmark in Plugins.from_environment().benchmarks():
        if benchmark.name in documented:
            tiny, full = documented[benchmark.name]
            runnable = {v.value for v, s in benchmark.variants.items() if s.unavailable is None}
            assert ("tiny" in runnable) == tiny.startswith("yes"), benchmark.name
            assert ("full" in runnable) == full.startswith("yes"), benchmark.name


def test_the_rounds_names_are_the_ones_documented() -> None:
    rows = table_rows(sections(DOCS / "rules.md", 2)["Names"])
    documented = {c[0].strip("`"): [quoted(cell) for cell in c[1:]] for c in rows[1:]}
    in_rules: dict[str, list[set[str]]] = {}
    for name in ROUNDS:
        for benchmark, rules in load_round(name).benchmarks.items():
            names = in_rules.setdefault(benchmark, [set(), set(), set()])
            names[0].add(rules.loadgen_name)
            names[1] |= {rules.loadgen_interactive_name or ""} - {""}
            names[2] |= set(rules.submission_names.values())
    documented.pop("---", None)
    assert documented == in_rules


# -- the site --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None,
    reason="mkdocs and mkdocs-material are not installed; `make docs` builds the site too",
)
def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert fetched == [], page


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", prose(page), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as mkdocs and the usual hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {"-".join(heading.split()) for heading in plain}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_internal_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
