from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.config import overrides
from mlpinf_core.config.layers import Typed
from mlpinf_core.config.overrides import environment_layer, parse_assignment
from mlpinf_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("loadgen.target_qps=10", {"loadgen": {"target_qps": "10"}}),
        ("loadgen.target_qps = 10", {"loadgen": {"target_qps": "10"}}),
        ("run.backend=torch", {"run": {"backend": "torch"}}),
        ('run.backend="torch"', {"run": {"backend": "torch"}}),
        ("backend.flag=a=b", {"backend": {"flag": "a=b"}}),
        ("backend.devices=[0, 1]", {"backend": {"devices": [0, 1]}}),
        ("backend.env={a = 1}", {"backend": {"env": {"a": 1}}}),
        ('backend.env."x.y"=1', {"backend": {"env": {"x.y": "1"}}}),
        ("backend={dtype = 'int8'}", {"backend": {"dtype": "int8"}}),
        ("loadgen.target_qps=", {"loadgen": {"target_qps": ""}}),
    ],
)
def test_an_assignment_is_one_key_and_its_value(text: str, values: dict[str, Any]) -> None:
    layer = parse_assignment(text)
    assert layer.values == values
    assert layer.origin == "--set"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loadgen.target_qps", "--set TABLE.KEY=VALUE"),
        ("=1", "not a key"),
        ("loadgen..x=1", "not a key"),
        ("loadgn.target_qps=1", "'loadgen'"),
        ("loadgen=1", "loadgen.KEY"),
        ("a\nb=1", "--set TABLE.KEY=VALUE"),
    ],
)
def test_a_malformed_assignment_says_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_assignment(text)
    assert said in str(caught.value)
    assert f"--set {text}" in str(caught.value.where)


@given(st.text())
def test_any_text_is_a_value(text: str) -> None:
    value = parse_assignment(f"benchmark.x={text}").values["benchmark"]["x"]
    assert isinstance(value, Typed | list | dict)


def test_variables_set_keys_whatever_their_case() -> None:
    layer = environment_layer(
        {"MLPINF__LOADGEN__TARGET_QPS": "10", "mlpinf__run__backend": "torch", "HOME": "/"}
    )
    assert layer is not None
    assert layer.origin == "environment"
    assert layer.values == {"loadgen": {"target_qps": "10"}, "run": {"backend": "torch"}}


def test_an_environment_without_settings_is_no_layer() -> None:
    assert environment_layer({"HOME": "/", "MLPINF_OTHER": "1"}) is None


SLIPS = {
    "MLPINF_LOADGEN__TARGET_QPS": "MLPINF__LOADGEN__TARGET_QPS",
    "MLPINF_LOADGEN_TARGET_QPS": "MLPINF__LOADGEN__TARGET_QPS",
    "mlpinf_run_backend": "MLPINF__RUN__BACKEND",
    "MLPINF_LOADGEN__TARGET_QSP": "MLPINF__LOADGEN__TARGET_QPS",
    "MLPINF_BACKEND__ENGINE__PATH": "MLPINF__BACKEND__ENGINE__PATH",
    "MLPINF_BENCHMARK__CALIBRATION_PATH": "MLPINF__BENCHMARK__CALIBRATION_PATH",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_variable_with_an_underscore_too_few_is_warned_of_once_with_the_name_that_was_meant(
    slip: str, caplog: pytest.LogCaptureFixture
) -> None:
    overrides._warn.cache_clear()
    for _ in range(2):
        assert environment_layer({slip: "10"}) is None
    (told,) = (record.getMessage() for record in caplog.records)
    assert slip in told
    assert f"did you mean {SLIPS[slip]}?" in told


@pytest.mark.parametrize("slip", ["MLPINF__LOADGEN_TARGET_QPS", "mlpinf__loadgen_target_qsp"])
def test_a_setting_whose_table_is_not_set_off_is_an_error_with_the_name_that_was_meant(
    slip: str,
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        environment_layer({slip: "10"})
    assert caught.value.remedy == "did you mean MLPINF__LOADGEN__TARGET_QPS?"
    assert slip in str(caught.value.where)


@pytest.mark.parametrize(
    "name",
    [
        "MLPINF_SYSTEMS",
        "MLPINF_DISABLE_PLUGINS",
        "MLPINF_DEBUG",
        "MLPINF_RUN",
        "MLPINF_RUN_",
        "MLPINF_RUNNER_ID",
        "MLPINF_RUN_ID",
        "MLPINF_RUN_DIR",
        "MLPINF_LOADGEN_VERSION",
        "MLPINF_SUT_ZZZ",
        "MLPINF_BACKEND_NAME",
        "MLPINF_BENCHMARK_ROOT",
        "MLPINF_BACKEND_ENGINE__PATH",
        "MLPINF__LOADGEN__TARGET_QPS",
        "MLPINF___LOADGEN__TARGET_QPS",
        "MYMLPINF_LOADGEN__TARGET_QPS",
    ],
)
def test_other_variables_are_not_warned_of(name: str, caplog: pytest.LogCaptureFixture) -> None:
    overrides._warn.cache_clear()
    environment_layer({name: "10"})
    assert caplog.records == []


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("MLPINF__RUN_ID", "unknown table"),
        ("MLPINF__BACKEND_FOO", "MLPINF__BACKEND__FOO"),
        ("MLPINF__LOADGN__TARGET_QPS", "'loadgen'"),
        ("MLPINF__LOADGEN", "loadgen.KEY"),
        ("MLPINF__", "unknown table"),
        ("MLPINF__LOADGEN__", "empty"),
    ],
)
def test_a_variable_that_sets_nothing_known_is_an_error_that_names_it(
    variable: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        environment_layer({variable: "10"})
    assert said in str(caught.value)
    assert variable in str(caught.value.where)
