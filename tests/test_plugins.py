"""Plugins: found, graded, called; and blamed when it is their fault and only then."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mlpinf_core.errors import MlpinfError, PluginError, PrerequisiteError, UnknownNameError
from mlpinf_core.plugins import DISABLE_VARIABLE, PluginInfo, Plugins, PluginState

if TYPE_CHECKING:
    from conftest import PluginPath

HEAD = """
from mlpinf_core.benchmark import BackendInfo, Benchmark, VariantSpec
from mlpinf_core.hookspecs import hookimpl
from mlpinf_core.vocabulary import Variant

def declared(name):
    return Benchmark(name, "a test", {Variant.FULL: VariantSpec("nothing", "plain")})
"""

GOOD = (
    HEAD
    + """
@hookimpl
def benchmarks():
    return [declared("good-bench")]

@hookimpl
def backends():
    return [BackendInfo("plain", benchmarks=("good-bench",), summary="nothing")]

@hookimpl
def dataset(run):
    return run

@hookimpl
def preprocess(run, dataset):
    return dataset["missing"]

@hookimpl
def make_sut(run, backend, samples):
    return ["sut"]

@hookimpl
def check_accuracy(run, samples, log):
    from mlpinf_core.errors import PrerequisiteError
    raise PrerequisiteError("no reference answers")
"""
)


def info_of(name: str, plugins: Plugins | None = None) -> PluginInfo:
    plugins = plugins or Plugins.from_environment()
    (info,) = [info for info in plugins.infos() if info.name == name]
    return info


def test_the_cores_own_plugin_goes_the_same_way() -> None:
    info = info_of("core")
    assert info.state is PluginState.LOADED
    assert info.benchmarks == ("null",)
    assert info.distribution == "mlpinf-core"


def test_what_a_plugin_offers_can_be_chosen_by_any_spelling(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD, version="2.3")
    plugins = Plugins.from_environment()
    assert info_of("good", plugins) == PluginInfo(
        name="good",
        distribution="mlpinf-test-good",
        version="2.3",
        module="mlpinf_test_good",
        state=PluginState.LOADED,
        benchmarks=("good-bench",),
        backends=("plain",),
    )
    assert plugins.benchmark("Good_Bench").name == "good-bench"
    assert plugins.backend("good-bench", "PLAIN").name == "plain"


def test_plugins_come_in_the_order_of_their_names(plugin_path: PluginPath) -> None:
    for name in ("zeta", "alpha", "mid"):
        plugin_path.write(name, HEAD)
    names = [info.name for info in Plugins.from_environment().infos()]
    assert names == sorted(names)
    assert {"alpha", "mid", "zeta"} <= set(names)


# -- grading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "state", "words"),
    [
        (
            "import no_such_package.part",
            PluginState.MISSING_DEPENDENCY,
            ["`pip install no_such_package`", "--force-reinstall mlpinf-test-bad"],
        ),
        ("import mlpinf_test_bad.inside", PluginState.IMPORT_ERROR, ["mlpinf_test_bad"]),
        ("from os import nothing", PluginState.IMPORT_ERROR, ["ImportError", "nothing"]),
        ("1 / 0", PluginState.IMPORT_ERROR, ["ZeroDivisionError"]),
        ("def f(:", PluginState.IMPORT_ERROR, ["SyntaxError"]),
        ("import sys; sys.exit(4)", PluginState.IMPORT_ERROR, ["SystemExit: 4"]),
        (
            HEAD + "@hookimpl\ndef preproces(run, dataset): return 1\n",
            PluginState.BUG,
            ["preproces", "did you mean 'preprocess'?"],
        ),
        (HEAD + "@hookimpl\ndef dataset(rnu): return 1\n", PluginState.BUG, ["'rnu'", "'run'?"]),
        (
            HEAD + "@hookimpl\ndef benchmarks(): return ['faulty']\n",
            PluginState.BUG,
            ["'benchmarks'", "a str", "Benchmark"],
        ),
        (
            HEAD + "@hookimpl\ndef backends(): return [declared('x')]\n",
            PluginState.BUG,
            ["'backends'", "a Benchmark", "BackendInfo"],
        ),
        (HEAD + "@hookimpl\ndef benchmarks(): return 7\n", PluginState.BUG, ["TypeError"]),
        (
            HEAD + "@hookimpl\ndef benchmarks(): raise ValueError('oh')\n",
            PluginState.BUG,
            ["ValueError: oh"],
        ),
    ],
    ids=[
        "dependency", "own module", "from import", "raises", "syntax", "exits", "misspelt",
        "argument", "benchmark type", "backend type", "no list", "hook raises",
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_used_is_graded_and_harms_no_other(
    source: str, state: PluginState, words: list[str], plugin_path: PluginPath
) -> None:
    plugin_path.write("bad", source)
    plugin_path.write("good", GOOD)
    plugins = Plugins.from_environment()
    info = info_of("bad", plugins)
    assert info.state is state
    for word in words:
        assert word in info.detail
    assert plugins.benchmark("good-bench").name == "good-bench"


def test_choosing_what_no_usable_plugin_offers_tells_of_the_broken_ones(
    plugin_path: PluginPath,
) -> None:
    plugin_path.write("bad", "import no_such_package")
    with pytest.raises(UnknownNameError) as caught:
        Plugins.from_environment().benchmark("bad-bench")
    assert "plugin 'bad' is not usable" in str(caught.value)
    assert "pip install no_such_package" in str(caught.value)


def test_a_misspelt_benchmark_gets_the_nearest_name(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD)
    plugins = Plugins.from_environment()
    with pytest.raises(UnknownNameError, match="good-bench"):
        plugins.benchmark("good-bnech")
    with pytest.raises(UnknownNameError, match="did you mean 'plain'"):
        plugins.backend("good-bench", "plane")


def test_a_plugin_name_of_two_distributions_is_refused_for_both(plugin_path: PluginPath) -> None:
    plugin_path.write("twin", GOOD, distribution="first", version="1.1", module="twin_one")
    plugin_path.write("twin", GOOD, distribution="second", version="2.2", module="twin_two")
    plugins = Plugins.from_environment()
    info = info_of("twin", plugins)
    assert info.state is PluginState.DUPLICATE
    assert "first 1.1" in info.detail
    assert "second 2.2" in info.detail
    with pytest.raises(UnknownNameError):
        plugins.benchmark("good-bench")


def test_a_benchmark_name_of_several_plugins_is_refused_for_all(
    plugin_path: PluginPath, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two", "three"):
        plugin_path.write(name, GOOD)
    plugin_path.write("other", GOOD.replace("good-bench", "other-bench"))
    with caplog.at_level(logging.WARNING):
        plugins = Plugins.from_environment()
    with pytest.raises(MlpinfError) as caught:
        plugins.benchmark("good-bench")
    for name in ("one", "two", "three"):
        assert f"mlpinf-test-{name} 1.0" in caught.value.what
    assert plugins.benchmark("other-bench").name == "other-bench"
    assert "neither is used" in caplog.text


def test_the_variable_leaves_plugins_out(
    plugin_path: PluginPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_path.write("good", GOOD)
    plugin_path.write("bad", "1 / 0")
    monkeypatch.setenv(DISABLE_VARIABLE, " bad, good,nobody")
    plugins = Plugins.from_environment()
    for name in ("good", "bad"):
        assert info_of(name, plugins).state is PluginState.DISABLED
        assert DISABLE_VARIABLE in info_of(name, plugins).detail
    with pytest.raises(UnknownNameError):
        plugins.benchmark("good-bench")
    assert plugins.benchmark("null").name == "null"


# -- calling ---------------------------------------------------------------------------------------


def test_the_owners_hook_is_called_with_what_it_asks_for(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD)
    run = {"some": "run"}
    assert Plugins.from_environment().call_five("dataset", "good-bench", "plain", run=run) is run


def test_an_exception_names_plugin_distribution_version_and_hook(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD, distribution="vendor-bench", version="4.5")
    with pytest.raises(PluginError) as caught:
        Plugins.from_environment().call_five(
            "preprocess", "good-bench", "plain", run=None, dataset={}
        )
    error = caught.value
    assert (error.plugin, error.distribution, error.version, error.hook) == (
        "good", "vendor-bench", "4.5", "preprocess",
    )  # fmt: skip
    assert error.what == "KeyError: 'missing'"
    assert isinstance(error.__cause__, KeyError)
    for word in ("'good'", "vendor-bench", "4.5", "'preprocess'"):
        assert word in str(error)


def test_an_error_of_the_frameworks_own_passes_as_it_is(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD)
    with pytest.raises(PrerequisiteError, match="no reference answers"):
        Plugins.from_environment().call_five(
            "check_accuracy", "good-bench", "plain", run=None, samples=None, log=None
        )


def test_a_hook_that_is_missing_or_returns_nothing_is_an_error(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD)
    plugins = Plugins.from_environment()
    with pytest.raises(PluginError, match="the hook returned nothing for good-bench"):
        plugins.call_five("build_backend", "good-bench", "plain", run=None, samples=None)
    with pytest.raises(PluginError, match="the hook returned nothing"):
        plugins.call_five("dataset", "good-bench", "plain", run=None)


OFFERS_BACKEND = (
    HEAD
    + """
@hookimpl
def backends():
    return [BackendInfo("fast", benchmarks=("good-bench",), summary="faster")]

@hookimpl
def build_backend(run, samples):
    return "fast backend"

@hookimpl
def make_sut(run, backend, samples):
    return ["somebody else's"]
"""
)


def test_a_backend_comes_from_the_plugin_that_offers_it_and_the_rest_from_the_owner(
    plugin_path: PluginPath,
) -> None:
    plugin_path.write("good", GOOD)
    plugin_path.write("accelerator", OFFERS_BACKEND)
    plugins = Plugins.from_environment()
    arguments = {"run": None, "samples": None}
    assert plugins.call_five("build_backend", "good-bench", "fast", **arguments) == "fast backend"
    sut = plugins.call_five("make_sut", "good-bench", "fast", backend=None, **arguments)
    assert sut == ["sut"]


WRAPPER = (
    HEAD
    + """
@hookimpl(wrapper=True)
def make_sut(run, backend, samples):
    if run == "before":
        raise ValueError("before")
    sut = yield
    if run == "after":
        from mlpinf_test_meter_parts import fail
        fail()
    return sut + ["metered"]

@hookimpl
def dataset(run):
    raise AssertionError("not the owner")

@hookimpl(wrapper=True)
def preprocess(run, dataset):
    return (yield)
"""
)


def test_a_wrapper_of_another_plugin_goes_around_the_owners_hook(plugin_path: PluginPath) -> None:
    plugin_path.write("good", GOOD)
    plugin_path.write("meter", WRAPPER)
    plugins = Plugins.from_environment()
    arguments = {"backend": None, "samples": None}
    sut = plugins.call_five("make_sut", "good-bench", "plain", run=None, **arguments)
    assert sut == ["sut", "metered"]
    assert plugins.call_five("dataset", "good-bench", "plain", run="mine") == "mine"


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_exception_in_a_wrapper_names_the_wrappers_plugin(
    where: str, plugin_path: PluginPath
) -> None:
    plugin_path.write("good", GOOD)
    plugin_path.write("meter", WRAPPER, version="7.7")
    parts = plugin_path.root / "mlpinf_test_meter_parts.py"
    parts.write_text("def fail(): raise ValueError('after')\n", encoding="utf-8")
    with pytest.raises(PluginError, match=f"ValueError: {where}") as caught:
        Plugins.from_environment().call_five(
            "make_sut", "good-bench", "plain", run=where, backend=None, samples=None
        )
    assert (caught.value.plugin, caught.value.version) == ("meter", "7.7")


def test_an_exception_that_passes_through_a_wrapper_names_the_owner(
    plugin_path: PluginPath,
) -> None:
    plugin_path.write("good", GOOD)
    plugin_path.write("meter", WRAPPER)
    with pytest.raises(PluginError) as caught:
        Plugins.from_environment().call_five(
            "preprocess", "good-bench", "plain", run=None, dataset={}
        )
    assert caught.value.plugin == "good"


def test_an_exception_from_a_plugins_own_library_names_the_plugin(plugin_path: PluginPath) -> None:
    package = plugin_path.root / "vendor_bench"
    package.mkdir()
    inside = "def read(run): raise OSError('unreadable')\n"
    (package / "reading.py").write_text(inside, encoding="utf-8")
    (package / "__init__.py").touch()
    hooks = GOOD.replace("return run", "from vendor_bench.reading import read\n    read(run)")
    (package / "hooks.py").write_text(hooks, encoding="utf-8")
    plugin_path.write("vendor", "", entry_point="vendor_bench.hooks")
    plugin_path.write("meter", WRAPPER)
    with pytest.raises(PluginError, match="OSError: unreadable") as caught:
        Plugins.from_environment().call_five("dataset", "good-bench", "plain", run=None)
    assert caught.value.plugin == "vendor"


LISTENER = (
    HEAD
    + """
heard = []

@hookimpl
def run_started(run):
    heard.append(run)
    if run["raise"] == __name__:
        raise RuntimeError("deaf")
"""
)


def test_every_listener_hears_of_a_run_even_when_one_raises(plugin_path: PluginPath) -> None:
    plugin_path.write("aone", LISTENER)
    plugin_path.write("btwo", LISTENER)
    plugins = Plugins.from_environment()
    run = {"raise": "mlpinf_test_aone"}
    with pytest.raises(PluginError, match="RuntimeError: deaf") as caught:
        plugins.notify("run_started", run=run)
    assert (caught.value.plugin, caught.value.hook) == ("aone", "run_started")
    assert sys.modules["mlpinf_test_btwo"].heard == [run]


# -- lightness -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["mlpinf_core", "mlpinf_core.cli"])
def test_importing_the_core_imports_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"numpy", "torch", "pandas", "mlperf_loadgen", "transformers", "rich", "hypothesis"}
    assert not heavy & set(output)
    assert module in output
