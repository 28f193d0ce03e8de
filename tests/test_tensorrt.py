"""Engines are described, kept and refused without a GPU; running them needs one."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.errors import (
    BackendError,
    ConfigurationError,
    IntegrityError,
    PrerequisiteError,
    UnknownNameError,
)
from mlpinf_core.hashing import sha256_of
from mlpinf_core.scratch import Scratch
from mlpinf_core.tensorrt import flavour as flavours
from mlpinf_core.tensorrt.build import Binding, _config, build
from mlpinf_core.tensorrt.flavour import Flavour, LoggedErrors
from mlpinf_core.tensorrt.memory import capability
from mlpinf_core.tensorrt.spec import EngineSpec, Range
from mlpinf_core.tensorrt.store import ABOUT, PLAN, EngineFile, built

if TYPE_CHECKING:
    from pathlib import Path

HAS_RTX = flavours.RTX in flavours.installed()
needs_rtx = pytest.mark.skipif(
    not HAS_RTX,
    reason="tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13-bindings "
    "tensorrt-rtx-cu13-libs",
)


def has_gpu() -> bool:
    if importlib.util.find_spec("cuda") is None:
        return False
    try:
        return bool(capability())
    except PrerequisiteError:
        return False


def some_flavour(version: str = "1.0") -> Flavour:
    return Flavour(flavours.RTX, SimpleNamespace(__version__=version), None, LoggedErrors())


@pytest.fixture
def engine(tmp_path: Path) -> EngineFile:
    """An engine's files, as a build leaves them."""
    (tmp_path / PLAN).write_bytes(b"serialised")
    about: dict[str, Any] = {
        "name": "unet",
        "flavour": flavours.RTX,
        "version": "1.0",
        "target": "8.9",
        "precision": "float16",
        "sha256": sha256_of(tmp_path / PLAN),
        "seconds": 1.5,
        "bindings": [attrs.asdict(Binding("x", True, "HALF", (-1, 4)))],
        "profile": {"x": [[1, 4], [2, 4], [8, 4]]},
    }
    (tmp_path / ABOUT).write_text(json.dumps(about), "utf-8")
    return EngineFile.read(tmp_path)


def test_an_engine_says_what_was_written_of_it(engine: EngineFile) -> None:
    assert engine.profile["x"] == Range.batches(8, (4,), usual=2)
    assert engine.bindings == (Binding("x", True, "HALF", (-1, 4)),)
    assert engine.contents(some_flavour(), "8.9") == b"serialised"


def test_an_engine_of_another_version_is_refused(engine: EngineFile) -> None:
    with pytest.raises(BackendError, match=r"built by tensorrt_rtx 1\.0, and here is .* 2\.0"):
        engine.contents(some_flavour("2.0"), "8.9")


def test_an_engine_for_another_gpu_is_refused(engine: EngineFile) -> None:
    with pytest.raises(BackendError, match=r"compute capability 8\.9, and here is 9\.0"):
        engine.contents(some_flavour(), "9.0")


def test_an_engine_that_was_cut_off_is_refused(engine: EngineFile) -> None:
    engine.path.write_bytes(b"serial")

    with pytest.raises(IntegrityError, match="cut off or changed, and has 6 bytes"):
        engine.contents(some_flavour(), "8.9")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"bindings": 3}'])
def test_a_folder_that_holds_no_engine_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / ABOUT).write_text(content, "utf-8")

    with pytest.raises(IntegrityError, match="no engine"):
        EngineFile.read(tmp_path)


def test_a_profile_whose_shapes_do_not_rise_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="do not rise"):
        Range((4, 2), (2, 2), (8, 2))


@given(batch=st.integers(1, 64), most=st.integers(1, 64))
def test_a_profile_admits_the_batches_that_it_was_made_for(batch: int, most: int) -> None:
    shapes = Range.batches(most, (4,))

    assert shapes.admits((batch, 4)) == (batch <= most)
    assert not shapes.admits((batch, 5))


def test_the_order_of_flags_and_inputs_does_not_matter() -> None:
    one = {"a": Range.fixed((1,)), "b": Range.fixed((2,))}
    other = dict(reversed(one.items()))

    assert dict(EngineSpec("x", one, flags=("B", "A")).inputs()) == dict(
        EngineSpec("x", other, flags=("A", "B")).inputs()
    )


def test_another_flavour_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown TensorRT"):
        flavours.load("tensorrtx")


def test_a_flavour_that_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flavours, "installed", list)

    with pytest.raises(PrerequisiteError) as caught:
        flavours.load()

    assert "tensorrt-rtx-cu13-bindings" in (caught.value.remedy or "")


def tiny_graph(path: Path, kind: str = "Relu") -> Path:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper

    shape = ["batch", 4]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, ["x"], ["y"])],
            "tiny",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, str(path))
    return path


SPEC = EngineSpec("tiny", {"x": Range.batches(8, (4,))}, target="8.9")


@needs_rtx
@pytest.mark.parametrize("target", ["8.0", "8.6", "8.9", "12.0"])
def test_an_engine_is_built_for_a_gpu_that_is_not_there(tmp_path: Path, target: str) -> None:
    found = build(
        flavours.load(flavours.RTX),
        tiny_graph(tmp_path / "tiny.onnx"),
        attrs.evolve(SPEC, target=target),
    )

    assert len(found.engine) > 1000
    assert [(one.name, one.shape) for one in found.bindings] == [("x", (-1, 4)), ("y", (-1, 4))]


@needs_rtx
def test_a_graph_that_tensorrt_does_not_know_gives_its_own_reason(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="NoSuchOperator"):
        build(
            flavours.load(flavours.RTX),
            tiny_graph(tmp_path / "bad.onnx", "NoSuchOperator"),
            SPEC,
        )


@needs_rtx
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "7.0"}, "compute capability"),
        ({"flags": ("SPARSE",)}, "builder flag"),
        ({"profile": {"z": Range.fixed((1, 4))}}, "inputs x"),
    ],
)
def test_what_cannot_be_built_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build(
            flavours.load(flavours.RTX),
            tiny_graph(tmp_path / "tiny.onnx"),
            attrs.evolve(SPEC, **change),
        )


@needs_rtx
def test_an_engine_is_built_once_and_then_for_a_change_that_is_named(tmp_path: Path) -> None:
    said: list[str] = []

    def engine_of(**changes: Any) -> EngineFile:
        return built(
            ArtifactStore(Scratch(tmp_path)),
            flavours.load(flavours.RTX),
            attrs.evolve(SPEC, **changes),
            {"weights": "0123"},
            lambda folder: tiny_graph(folder / "tiny.onnx"),
            lambda sentence, _done, _total: said.append(sentence),
            target="8.9",
        )

    first = engine_of()
    said.clear()
    assert engine_of() == first
    assert said == []

    other = engine_of(profile={"x": Range.batches(16, (4,))})
    assert other.path != first.path
    assert "profile" in said[0]


@needs_rtx
def test_an_engine_of_rtx_allocates_nothing_while_it_is_recorded(tmp_path: Path) -> None:
    flavour = flavours.load(flavours.RTX)
    trt = flavour.module
    builder = trt.Builder(flavour.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, flavour.logger)
    assert parser.parse_from_file(str(tiny_graph(tmp_path / "tiny.onnx")))

    config = _config(flavour, builder, network, SPEC)

    assert config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


@pytest.mark.parametrize("capturable", [True, False])
def test_an_engine_that_cannot_be_recorded_names_the_setting(
    engine: EngineFile, capturable: bool
) -> None:
    from mlpinf_core.tensorrt.run import Engine

    loaded = Engine.__new__(Engine)
    loaded._flavour, loaded.file, loaded._inputs = some_flavour(), engine, ("x",)
    shape = (2, 4)
    loaded._contexts = {(shape,): SimpleNamespace(is_stream_capturable=lambda _: capturable)}
    stream: Any = SimpleNamespace(handle=7)

    if capturable:
        loaded.require_capturable({"x": shape}, stream)
    else:
        with pytest.raises(BackendError, match="cannot be recorded") as caught:
            loaded.require_capturable({"x": shape}, stream)
        assert caught.value.remedy == "set backend.cuda_graphs=false"


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="there is no CUDA device")
def test_an_engine_computes_on_the_device(tmp_path: Path) -> None:
    import numpy as np

    from mlpinf_core.tensorrt.memory import DeviceMemory, PinnedArray, Stream
    from mlpinf_core.tensorrt.run import Engine, Graph, Place, share_scratch

    target = capability()
    file = built(
        ArtifactStore(Scratch(tmp_path)),
        flavours.load(flavours.RTX),
        attrs.evolve(SPEC, target=target),
        {"weights": "0123"},
        lambda folder: tiny_graph(folder / "tiny.onnx"),
        lambda *_: None,
        target=target,
    )
    engine = Engine(file, flavours.load(flavours.RTX), target)
    scratch, stream = share_scratch([engine]), Stream.new()
    host = PinnedArray.new((2, 4), np.float32)
    host.array[:] = np.arange(8).reshape(2, 4) - 4
    given, made = DeviceMemory.new(host.array.nbytes), DeviceMemory.new(host.array.nbytes)
    places = {"x": Place(given.address, (2, 4)), "y": Place(made.address, (2, 4))}
    wanted = np.maximum(host.array, 0)
    host.to_device(given.address, stream)

    graph = Graph(lambda: engine.enqueue(places, stream), stream)
    graph.replay()
    host.from_device(made.address, stream)
    stream.wait()

    np.testing.assert_array_equal(host.array, wanted)
    with pytest.raises(BackendError, match="takes no x"):
        engine.output_shapes({"x": (9, 4)})
    for one in (graph, host, given, made, scratch, stream):
        one.close()
