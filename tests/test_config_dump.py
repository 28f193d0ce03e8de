from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.benchmark import NoSettings
from mlpinf_core.config.dump import Key, Row, from_dict, keys, rows, to_dict
from mlpinf_core.config.layers import Layer
from mlpinf_core.config.resolve import resolve
from mlpinf_core.config.schema import (
    TABLES,
    Config,
    LoadGenSettings,
    RunSettings,
    SutSettings,
    setting,
)
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.vocabulary import Variant


@attrs.frozen
class Sampling:
    temperature: float = setting(1.0, "How random.")
    top_k: int = setting(1, "How many.", unit="tokens")


@attrs.frozen
class Sample:
    flag: bool = setting(True, "A boolean.")
    title: str | None = setting(None, "Text or nothing.")
    style: Literal["fast", "exact"] = setting("fast", "A word.")
    variant: Variant = setting(Variant.TINY, "A member.")
    path: Path = setting(Path("a"), "A path.")
    devices: tuple[int, ...] = setting((0,), "Devices.", unit="index")
    env: dict[str, int] = attrs.field(factory=dict, metadata={"doc": "Variables."})
    sampling: Sampling = setting(Sampling(), "Nested.")
    extra: Sampling | None = setting(None, "Nested or nothing.")


def backend_settings(name: str) -> type:
    if name not in ("", "null"):
        raise UnknownNameError("backend", name, ("null",))
    return NoSettings


def settle(*layers: Layer) -> Config:
    return resolve(layers, benchmark_settings=Sample, backend_settings=backend_settings)


def again(config: Config) -> Config:
    return from_dict(json.loads(json.dumps(to_dict(config))), Sample, backend_settings)


SAMPLINGS = st.fixed_dictionaries(
    {}, optional={"temperature": st.floats(0, 2), "top_k": st.integers(1, 9)}
)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "title": st.none() | st.text(),
        "style": st.sampled_from(["fast", "exact"]),
        "variant": st.sampled_from(["full", "tiny"]),
        "path": st.sampled_from(["a", "/b/c", "~"]),
        "devices": st.lists(st.integers(0, 7), max_size=3),
        "env": st.dictionaries(st.sampled_from(["A", "B"]), st.integers()),
        "sampling": SAMPLINGS,
        "extra": SAMPLINGS,
    },
)
LOADGEN = st.fixed_dictionaries(
    {},
    optional={
        "target_qps": st.none() | st.floats(0.1, 1e9),
        "min_query_count": st.none() | st.integers(0, 1000),
        "equal_issue": st.none() | st.booleans(),
    },
)


@given(VALUES, LOADGEN, VALUES)
def test_a_configuration_survives_json(
    low: dict[str, Any], loadgen: dict[str, Any], high: dict[str, Any]
) -> None:
    config = settle(
        Layer("low.toml", {"benchmark": low, "loadgen": loadgen}),
        Layer("high.toml", {"benchmark": high, "run": {"backend": "null"}}),
    )
    assert again(config) == config
    assert again(again(config)) == again(config)


@given(VALUES)
def test_every_row_has_an_origin_and_every_origin_a_row(values: dict[str, Any]) -> None:
    config = settle(Layer("my.toml", {"benchmark": values}))
    assert [row.key for row in rows(config)] == list(config.origins)
    assert {row.origin for row in rows(config)} <= {"my.toml", "default"}


def test_a_record_holds_plain_values_and_their_origins() -> None:
    config = settle(Layer("my.toml", {"benchmark": {"path": "/x", "sampling": {"top_k": 3}}}))
    data = to_dict(config)
    assert set(data) == {"values", "origins"}
    assert set(data["values"]) == set(TABLES)
    assert data["values"]["benchmark"]["path"] == "/x"
    assert data["values"]["benchmark"]["variant"] == "tiny"
    assert data["values"]["benchmark"]["devices"] == [0]
    assert data["origins"]["benchmark.sampling.top_k"] == "my.toml"
    assert data["origins"]["benchmark.sampling.temperature"] == "default"


def test_a_record_from_before_a_key_existed_gets_its_default() -> None:
    data = to_dict(settle())
    del data["values"]["sut"]["workers"], data["origins"]["sut.workers"]
    config = from_dict(data, Sample, backend_settings)
    assert config.sut.workers == SutSettings().workers
    assert config.origins["sut.workers"] == "default"


def test_a_record_with_a_key_that_is_gone_is_refused() -> None:
    data = to_dict(settle())
    data["values"]["sut"]["worker"] = 3
    with pytest.raises(ConfigurationError) as caught:
        from_dict(data, Sample, backend_settings)
    assert "sut.worker: unknown key" in caught.value.what
    assert caught.value.where == "the recorded configuration"


@pytest.mark.parametrize("data", [{}, {"values": {}}, []])
def test_half_a_record_is_refused(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="incomplete"):
        from_dict(data, Sample, backend_settings)


def test_a_row_shows_value_unit_origin_and_meaning() -> None:
    config = settle(
        Layer("my.toml", {"loadgen": {"target_qps": 10}, "benchmark": {"env": {"A": 1}}})
    )
    found = {row.key: row for row in rows(config)}
    qps = found["loadgen.target_qps"]
    assert (qps.value, qps.unit, qps.origin) == (10.0, "1/s", "my.toml")
    assert qps.doc.startswith("Server: queries issued a second.")
    assert found["benchmark.env.A"] == Row("benchmark.env.A", 1, None, "my.toml", "Variables.")
    assert found["benchmark.sampling.top_k"].unit == "tokens"
    assert found["benchmark.devices"].value == [0]


def test_every_key_of_a_class_is_documented_with_type_default_and_unit() -> None:
    found = {key.key: key for key in keys(Sample, "benchmark")}
    assert list(found) == [
        *(f"benchmark.{name}" for name in ("flag", "title", "style", "variant", "path")),
        *(f"benchmark.{name}" for name in ("devices", "env")),
        *(f"benchmark.sampling.{name}" for name in ("temperature", "top_k")),
        "benchmark.extra",
    ]
    assert found["benchmark.flag"] == Key(
        "benchmark.flag", "true or false", True, None, "A boolean."
    )
    assert found["benchmark.title"].type == "text, or unset"
    assert found["benchmark.style"].type == "one of fast, exact"
    assert found["benchmark.variant"].default == "tiny"
    assert found["benchmark.devices"].type == "a list, each an integer"
    assert found["benchmark.env"].type == "a table"


@pytest.mark.parametrize(
    ("kind", "table"), [(RunSettings, "run"), (LoadGenSettings, "loadgen"), (SutSettings, "sut")]
)
def test_every_setting_of_the_core_says_what_it_means(kind: type, table: str) -> None:
    for key in keys(kind, table):
        assert key.key.startswith(f"{table}.")
        assert key.doc.endswith(".")


def test_a_key_that_must_be_given_has_no_default() -> None:
    @attrs.frozen
    class Needs:
        model: str

    assert keys(Needs, "benchmark") == [Key("benchmark.model", "text", None, None, "")]
