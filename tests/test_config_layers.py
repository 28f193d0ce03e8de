from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.config.layers import Layer, merge
from mlpinf_core.errors import ConfigurationError

NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.integers(), st.booleans(), st.text(max_size=3), st.none())
TABLES = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=3),
    lambda inner: st.dictionaries(NAMES, SCALARS | inner, max_size=3),
    max_leaves=8,
)


def outcome(*values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The merged tables, or None where they contradict each other."""
    try:
        return merge([Layer(str(n), table) for n, table in enumerate(values)])[0]
    except ConfigurationError:
        return None


def then(first: dict[str, Any] | None, second: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if first is None or second is None else outcome(first, second)


def keys(values: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in values.items():
        inside = isinstance(value, Mapping)
        found |= keys(value, f"{prefix}{key}.") if inside else {prefix + key}
    return found


@given(TABLES, TABLES, TABLES)
def test_merging_is_associative(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert then(outcome(a, b), c) == then(a, outcome(b, c)) == outcome(a, b, c)


@given(TABLES)
def test_merging_with_nothing_changes_nothing(a: dict[str, Any]) -> None:
    assert outcome(a, {}) == outcome({}, a) == outcome(a, a) == a


@given(TABLES, TABLES)
def test_every_merged_value_has_the_origin_of_the_last_layer_that_sets_it(
    low: dict[str, Any], high: dict[str, Any]
) -> None:
    if outcome(low, high) is None:
        return
    merged, origins = merge([Layer("low", low), Layer("high", high)])
    assert set(origins) == keys(merged) == keys(low) | keys(high)
    for key, origin in origins.items():
        assert origin == ("high" if key in keys(high) else "low")


def test_a_later_layer_wins_key_by_key_and_keeps_the_rest_of_the_table() -> None:
    merged, origins = merge(
        [
            Layer("low", {"sut": {"workers": 1, "max_wait_ms": 5.0}}),
            Layer("high", {"sut": {"workers": 2}}),
        ]
    )
    assert merged == {"sut": {"workers": 2, "max_wait_ms": 5.0}}
    assert origins == {"sut.workers": "high", "sut.max_wait_ms": "low"}


def test_the_layers_themselves_stay_as_they_were() -> None:
    low, high = {"sut": {"workers": 1}}, {"sut": {"workers": 2}}
    merge([Layer("low", low), Layer("high", high)])
    assert low == {"sut": {"workers": 1}}


@pytest.mark.parametrize(
    ("low", "high"),
    [({"sut": {"workers": 1}}, {"sut": 8}), ({"sut": 8}, {"sut": {"workers": 1}})],
)
def test_a_value_over_a_table_is_an_error_that_names_both_origins(
    low: dict[str, Any], high: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        merge([Layer("lower.toml", low), Layer("upper.toml", high)])
    assert "lower.toml" in str(caught.value)
    assert "upper.toml" in str(caught.value)
    assert "'sut'" in caught.value.what
