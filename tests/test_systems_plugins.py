"""Settings of known systems, from a file or from a plugin."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest

from mlpinf_core import builtin
from mlpinf_core.errors import UnknownNameError
from mlpinf_core.hookspecs import hookimpl
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from pathlib import Path


def offering(*directories: Path) -> types.SimpleNamespace:
    @hookimpl
    def systems() -> list[Path]:
        return list(directories)

    return types.SimpleNamespace(systems=systems)


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    (tmp_path / "B200-SXMx8.toml").write_text("[sut]\nmax_batch_size = 77\nworkers = 3\n")
    return Plugins([("core", builtin), ("known", offering(tmp_path))])


def test_a_system_that_a_plugin_offers_is_found_by_its_name(plugins: Plugins) -> None:
    plan = make_plan(Request(("null",), system="b200_sxmx8"), plugins)
    config = plan.runs[0].config(plugins, Mode.PERFORMANCE)
    assert config.sut.max_batch_size == 77
    assert config.origins["sut.max_batch_size"].endswith("B200-SXMx8.toml")


def test_the_users_own_file_stands_above_the_systems(plugins: Plugins, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[sut]\nworkers = 5\n")
    plan = make_plan(Request(("null",), system="B200-SXMx8", files=(own,)), plugins)
    config = plan.runs[0].config(plugins, Mode.PERFORMANCE)
    assert (config.sut.max_batch_size, config.sut.workers) == (77, 5)


def test_an_unknown_system_is_refused_with_the_nearest(plugins: Plugins) -> None:
    with pytest.raises(UnknownNameError, match="unknown system") as caught:
        make_plan(Request(("null",), system="B200-SXMx4"), plugins)
    assert "B200-SXMx8" in str(caught.value.remedy)


def test_a_plugin_that_fails_to_offer_systems_does_not_hide_those_of_others(
    plugins: Plugins, tmp_path: Path
) -> None:
    @hookimpl
    def systems() -> list[Path]:
        raise RuntimeError("no")

    both = Plugins(
        [
            ("core", builtin),
            ("broken", types.SimpleNamespace(systems=systems)),
            ("known", offering(tmp_path)),
        ]
    )
    plan = make_plan(Request(("null",), system="B200-SXMx8"), both)
    assert plan.runs[0].config(both, Mode.PERFORMANCE).sut.workers == 3
