"""The names of ``import mlpinf_core``."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types

import pytest

import mlpinf_core


def test_importing_the_package_imports_nothing_but_itself() -> None:
    probe = (
        "import sys, typing, __future__; before = set(sys.modules); import mlpinf_core; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mlpinf_core"]


@pytest.mark.parametrize("name", mlpinf_core.__all__)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(mlpinf_core, name)
    assert not isinstance(found, types.ModuleType)
    assert name in dir(mlpinf_core)


def test_type_checkers_are_told_of_the_very_names_that_there_are() -> None:
    tree = ast.parse(inspect.getsource(mlpinf_core))
    told = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith("mlpinf_core")
        for alias in node.names
    }
    homes = {
        (f"mlpinf_core.{module}", name)
        for module, names in mlpinf_core._HOMES.items()
        for name in names
    }
    assert told == homes
    assert sorted(name for _, name in told) == sorted(mlpinf_core.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mlpinf_core.nonsense
