"""Engines are built for the GPU that is asked for, or the wish is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.tensorrt.flavour import DATACENTER, RTX, Flavour, LoggedErrors
from mlpinf_sdxl import engines


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of compute capability 9.0."""
    monkeypatch.setattr(engines, "capability", lambda: "9.0")


def flavour(name: str) -> Flavour:
    return Flavour(name, SimpleNamespace(__version__="1.0"), None, LoggedErrors())


@pytest.mark.parametrize(
    ("name", "wanted", "found"),
    [(RTX, "8.9", "8.9"), (RTX, "", "9.0"), (DATACENTER, "", "9.0"), (DATACENTER, "9.0", "9.0")],
)
def test_the_target_is_the_one_asked_for_or_the_gpu_that_is_there(
    name: str, wanted: str, found: str
) -> None:
    assert engines.target_of(wanted, flavour(name)) == found


def test_a_flavour_that_builds_for_this_gpu_only_refuses_another() -> None:
    with pytest.raises(ConfigurationError, match=r"9\.0, and not for 8\.9") as caught:
        engines.target_of("8.9", flavour(DATACENTER))

    assert caught.value.where == "backend.target"
