"""How cores are shared between devices, batches and threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core import binding
from mlpinf_core.suts.processes import WorkerPool
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_rgat import sharing
from mlpinf_rgat.benchmarks import TorchSettings
from mlpinf_rgat.pooled import PooledBackend
from mlpinf_rgat.sharing import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_rgat.graph import Graph


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "usable_processors", lambda: 16)
    monkeypatch.setattr(binding.os, "sched_getaffinity", lambda _: set(range(16)))


def share(
    scenario: Scenario = Scenario.OFFLINE, variant: Variant = Variant.TINY,
    cpus: Sequence[str] = (), **settings: Any,
) -> tuple[int, int]:  # fmt: skip
    found = Share.of(TorchSettings(**settings), scenario, variant, cpus)
    return found.replicas, found.threads


def test_each_core_has_a_batch_of_the_tiny_graph() -> None:
    assert share() == (16, 1)
    assert share(devices=4) == (4, 1)
    assert share(devices=32) == (1, 1)


def test_the_full_graph_has_few_replicas_because_each_has_gigabytes() -> None:
    assert share(variant=Variant.FULL) == (2, 8)
    assert share(variant=Variant.FULL, devices=4) == (1, 4)


@pytest.mark.parametrize("scenario", [Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM])
def test_the_only_open_query_is_computed_by_all_cores(scenario: Scenario) -> None:
    assert share(scenario) == (1, 16)
    assert share(scenario, device="cuda")[0] == 1
    assert share(scenario, cpus=("0-3", "4-7")) == (1, 4)


def test_a_worker_that_is_bound_has_the_processors_of_its_list() -> None:
    assert share(devices=2, cpus=("0-7", "8-15")) == (8, 1)
    assert share(devices=2, cpus=("0-7", "8-15"), replicas=1) == (1, 8)
    assert share(devices=4, cpus=("0-7", "8-15"), replicas=1) == (1, 4)


def test_settings_have_the_last_word() -> None:
    assert share(replicas=3) == (3, 5)
    assert share(replicas=3, threads=7) == (3, 7)
    assert share(device="cuda")[0] == 3


def test_a_process_gets_the_share_that_was_found_before_it_was_bound(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(WorkerPool, "__init__", lambda _, make, *__, **___: made.append(make))
    settings: Any = TorchSettings(devices=2)
    PooledBackend(graph, graph.folder, None, settings, Share(5, 3))  # type: ignore[arg-type]
    assert made[0].keywords["share"] == Share(5, 3)
