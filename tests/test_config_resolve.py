from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.benchmark import NoSettings
from mlpinf_core.config.layers import Layer, Typed
from mlpinf_core.config.overrides import environment_layer, parse_assignment
from mlpinf_core.config.resolve import resolve
from mlpinf_core.config.schema import Config, LoadGenSettings, RunSettings, SutSettings, setting
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.vocabulary import Variant


class Precision(enum.Enum):
    INT8 = "int8"
    FULL = "float32"


@attrs.frozen
class Sampling:
    temperature: float = setting(1.0, "How random.")
    top_k: int = setting(1, "How many.", validator=attrs.validators.ge(1))


@attrs.frozen
class Everything:
    flag: bool = setting(True, "A boolean.")
    count: int = setting(3, "An integer.", unit="samples", validator=attrs.validators.ge(1))
    rate: float = setting(1.5, "A number.")
    name: str = setting("x", "Text.")
    title: str | None = setting(None, "Text or nothing.")
    limit: float | None = setting(None, "A number or nothing.")
    shout: bool | None = setting(None, "A boolean or nothing.")
    style: Literal["fast", "exact"] = setting("fast", "A word.")
    precision: Precision = setting(Precision.INT8, "A member.")
    variant: Variant = setting(Variant.TINY, "A word of the vocabulary.")
    path: Path = setting(Path("a"), "A path.")
    devices: tuple[int, ...] = setting((0,), "Devices.")
    names: list[str] = attrs.field(factory=list)
    pair: tuple[int, str] = setting((1, "a"), "A pair.")
    env: dict[str, int] = attrs.field(factory=lambda: {"base": 1})
    free: Mapping[str, Any] = attrs.field(factory=dict)
    sampling: Sampling = setting(Sampling(top_k=5), "Nested.")
    extra: Sampling | None = setting(None, "Nested or nothing.")


def settle(*layers: Layer | Mapping[str, Any] | str) -> Config:
    """The configuration of layers: a table is one of [benchmark], a text is one ``--set``."""
    made = []
    for n, layer in enumerate(layers):
        if isinstance(layer, str):
            made.append(parse_assignment(layer))
        elif isinstance(layer, Layer):
            made.append(layer)
        else:
            made.append(Layer(f"layer {n}", {"benchmark": layer}))
    return resolve(made, benchmark_settings=Everything, backend_settings=lambda _: NoSettings)


def complaint(*layers: Layer | Mapping[str, Any] | str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        settle(*layers)
    return caught.value


def test_no_layer_at_all_gives_the_defaults_and_says_so() -> None:
    config = settle()
    assert config.run == RunSettings()
    assert config.loadgen == LoadGenSettings()
    assert config.sut == SutSettings()
    assert config.benchmark == Everything()
    assert config.backend == NoSettings()
    assert set(config.origins.values()) == {"default"}


def test_every_value_has_an_origin_down_to_nested_tables() -> None:
    config = settle(
        {"env": {"more": 2}, "sampling": {"temperature": 0.5}}, "benchmark.extra.top_k=9"
    )
    assert config.benchmark.env == {"base": 1, "more": 2}
    assert config.benchmark.sampling == Sampling(temperature=0.5, top_k=5)
    assert config.benchmark.extra == Sampling(top_k=9)
    origins = config.origins
    assert origins["benchmark.env.base"] == "default"
    assert origins["benchmark.env.more"] == "layer 0"
    assert origins["benchmark.sampling.temperature"] == "layer 0"
    assert origins["benchmark.sampling.top_k"] == "default"
    assert origins["benchmark.extra.top_k"] == "--set"
    assert origins["benchmark.flag"] == "default"
    assert origins["sut.workers"] == "default"


def test_a_later_layer_wins_and_is_the_origin() -> None:
    config = settle({"count": 4}, {"count": 5}, "benchmark.rate=2")
    assert (config.benchmark.count, config.benchmark.rate) == (5, 2.0)
    assert config.origins["benchmark.count"] == "layer 1"
    assert config.origins["benchmark.rate"] == "--set"


@pytest.mark.parametrize("word", ["False", "false", "FALSE", "no", "off", "0"])
def test_false_stays_false_from_the_command_line_and_the_environment(word: str) -> None:
    assert settle(f"benchmark.flag={word}").benchmark.flag is False
    layer = environment_layer({"MLPINF__BENCHMARK__FLAG": word})
    assert layer is not None
    assert settle(layer).benchmark.flag is False
    assert settle(f"benchmark.shout={word}").benchmark.shout is False


@pytest.mark.parametrize("word", ["True", "true", "yes", "ON", "1"])
def test_true_is_true_in_the_usual_words(word: str) -> None:
    assert settle({"flag": False}, f"benchmark.flag={word}").benchmark.flag is True


@given(st.text(min_size=1).filter(lambda t: t.strip() not in ("True", "true", "False", "false")))
def test_text_in_a_file_is_never_a_boolean(text: str) -> None:
    assert "benchmark.flag" in complaint({"flag": text}).what


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("count=7", "count", 7),
        ("count=1_000", "count", 1000),
        ("count=1e3", "count", 1000),
        ("rate=7", "rate", 7.0),
        ("name=7", "name", "7"),
        ("name=true", "name", "true"),
        ("name=1.10", "name", "1.10"),
        ("name=", "name", ""),
        ("title=None", "title", None),
        ("title=", "title", None),
        ("limit=none", "limit", None),
        ("limit=2", "limit", 2.0),
        ("style=Exact", "style", "exact"),
        ("precision=INT8", "precision", Precision.INT8),
        ("variant=Full", "variant", Variant.FULL),
        ("path=/data/x", "path", Path("/data/x")),
        ("devices=2", "devices", (2,)),
        ("devices=0,1", "devices", (0, 1)),
        ("devices=[0, 1]", "devices", (0, 1)),
        ("devices=", "devices", ()),
        ("names=a,b", "names", ["a", "b"]),
        ("pair=2,b", "pair", (2, "b")),
        ("env.more=2", "env", {"base": 1, "more": 2}),
        ("free={a = {b = 1}}", "free", {"a": {"b": 1}}),
        ("free.a=1", "free", {"a": 1}),
        ("extra.top_k=2", "extra", Sampling(top_k=2)),
    ],
)
def test_typed_text_becomes_what_its_key_is(assignment: str, field: str, value: Any) -> None:
    found = getattr(settle(f"benchmark.{assignment}").benchmark, field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "given_", "value"),
    [
        ("count", 7.0, 7),
        ("rate", 7, 7.0),
        ("limit", "", None),
        ("limit", None, None),
        ("precision", "float32", Precision.FULL),
        ("precision", Precision.FULL, Precision.FULL),
        ("path", Path("x"), Path("x")),
        ("names", ["a"], ["a"]),
        ("extra", Sampling(), Sampling()),
    ],
)
def test_values_with_a_type_fit_where_nothing_is_lost(field: str, given_: Any, value: Any) -> None:
    found = getattr(settle({field: given_}).benchmark, field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("flag", 1, "true or false"),
        ("flag", "False", "true or false"),
        ("flag", Typed("maybe"), "true or false"),
        ("count", True, "an integer"),
        ("count", 1.5, "an integer"),
        ("count", "7", "an integer"),
        ("count", Typed("seven"), "an integer"),
        ("count", float("inf"), "an integer"),
        ("rate", "7", "a number"),
        ("rate", True, "a number"),
        ("rate", float("nan"), "a number"),
        ("rate", 10**400, "a number"),
        ("name", 7, "text"),
        ("name", None, "text"),
        ("limit", "fast", "a number, or unset"),
        ("style", "fest", "one of fast, exact"),
        ("precision", "int9", "one of int8, float32"),
        ("precision", 8, "one of int8, float32"),
        ("path", 7, "a path"),
        ("devices", "0", "a list, each an integer"),
        ("devices", [0, "a"], "an integer"),
        ("pair", [1], "a list of 2: an integer, text"),
        ("env", {"more": "x"}, "an integer"),
        ("sampling", {"top_k": "x"}, "an integer"),
        ("extra", {"top_k": "x"}, "an integer"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_with_key_value_type_and_origin(
    field: str, value: Any, expected: str
) -> None:
    error = complaint(Layer("my.toml", {"benchmark": {field: value}}))
    assert error.what.startswith(f"benchmark.{field}")
    assert expected in error.what
    assert error.where == "my.toml"
    if not isinstance(value, dict | list):
        assert str(value) in error.what


@pytest.mark.parametrize(
    ("key", "guess"),
    [("cout", "count"), ("flags", "flag"), ("target-latency", None), ("sampling.topk", "top_k")],
)
def test_an_unknown_key_is_an_error_that_suggests_the_nearest(key: str, guess: str | None) -> None:
    error = complaint(f"benchmark.{key}=1")
    assert error.what == f"benchmark.{key}: unknown key"
    assert error.where == "--set"
    assert (f"{guess!r}" if guess else "known: flag, count") in str(error.remedy)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


@given(st.sampled_from(["run", "loadgen", "sut", "benchmark", "backend"]), NAMES, st.integers())
def test_a_key_that_no_class_has_is_always_an_error(table: str, key: str, value: int) -> None:
    config = settle()
    if hasattr(getattr(config, table), key):
        return
    assert f"{table}.{key}" in complaint(Layer("my.toml", {table: {key: value}})).what


@given(
    st.sampled_from([f.name for f in attrs.fields(LoadGenSettings)]), st.data(), st.integers(0, 25)
)
def test_one_wrong_letter_in_a_key_suggests_the_key(key: str, data: Any, letter: int) -> None:
    place = data.draw(st.integers(0, len(key) - 1))
    wrong = key[:place] + chr(ord("a") + letter) + key[place + 1 :]
    names = [f.name for f in attrs.fields(LoadGenSettings)]
    if wrong in names:
        return
    remedy = str(complaint(Layer("x", {"loadgen": {wrong: 1}})).remedy)
    # Some keys are two letters apart (ttft_ms and tpot_ms): either is a fair guess between them.
    fair = [n for n in names if len(n) == len(wrong) and _letters_apart(n, wrong) <= 2]
    assert any(f"{name!r}" in remedy for name in fair)


def _letters_apart(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def test_all_problems_are_reported_together_each_with_its_origin() -> None:
    error = complaint(
        Layer("a.toml", {"loadgen": {"target_qps": "fast", "min_duratoin": 1}}),
        Layer("b.toml", {"sut": {"workers": 0, "max_batch_size": 0}, "bencmark": {"x": 1}}),
        "benchmark.count=0",
    )
    text = str(error)
    assert error.what.startswith("6 settings are wrong")
    for part in (
        "loadgen.target_qps: 'fast' is not a number, or unset (in a.toml)",
        "loadgen.min_duratoin: unknown key (in a.toml); did you mean 'min_duration'?",
        "sut.workers: ",
        "sut.max_batch_size: ",
        "(in b.toml)",
        "benchmark.count: ",
        "(in --set)",
        "bencmark: unknown table (in b.toml); did you mean 'benchmark'?",
    ):
        assert part in text


def test_a_value_that_a_validator_refuses_is_an_error_with_its_key_and_origin() -> None:
    error = complaint(Layer("my.toml", {"sut": {"workers": 0}}))
    assert error.what == "sut.workers: it is 0, and must be >= 1"
    assert error.where == "my.toml"


def test_a_class_that_refuses_a_combination_is_named_with_all_who_set_it() -> None:
    @attrs.frozen
    class Band:
        low: int = 0
        high: int = 1

        def __attrs_post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(ConfigurationError) as caught:
        resolve(
            [
                Layer("a.toml", {"benchmark": {"low": 5}}),
                Layer("b.toml", {"benchmark": {"high": 2}}),
            ],
            benchmark_settings=Band,
            backend_settings=lambda _: NoSettings,
        )
    assert caught.value.what == "benchmark: low is above high"
    assert caught.value.where == "a.toml; b.toml"


def test_a_field_without_a_default_must_be_set() -> None:
    @attrs.frozen
    class Needs:
        model: str

    def take(values: dict[str, Any]) -> Config:
        return resolve(
            [Layer("x", {"benchmark": values})],
            benchmark_settings=Needs,
            backend_settings=lambda _: NoSettings,
        )

    assert take({"model": "m"}).benchmark.model == "m"
    with pytest.raises(ConfigurationError, match=r"benchmark\.model: missing; it must be text"):
        take({})


def test_the_backends_own_settings_are_those_of_the_backend_chosen() -> None:
    asked = []

    @attrs.frozen
    class Torch:
        dtype: str = setting("auto", "The type.")

    def settings(name: str) -> type:
        asked.append(name)
        return Torch

    config = resolve(
        [
            Layer("low", {"run": {"backend": "ctranslate2"}, "backend": {"dtype": "int8"}}),
            parse_assignment("run.backend=torch"),
        ],
        benchmark_settings=NoSettings,
        backend_settings=settings,
    )
    assert asked == ["torch"]
    assert config.backend == Torch("int8")


def test_an_unknown_backend_is_what_the_lookup_says() -> None:
    def settings(name: str) -> type:
        raise UnknownNameError("backend", name, ("torch", "null"))

    with pytest.raises(UnknownNameError, match="torhc"):
        resolve(
            [parse_assignment("run.backend=torhc")],
            benchmark_settings=NoSettings,
            backend_settings=settings,
        )


def test_a_key_in_a_table_that_has_none_is_an_error() -> None:
    error = complaint("backend.dtype=int8")
    assert error.what == "backend.dtype: unknown key"
    assert error.remedy == "known: none"
