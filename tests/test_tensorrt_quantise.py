"""8-bit graphs compute nearly what they were made from, and TensorRT builds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.errors import BackendError
from mlpinf_core.tensorrt import flavour as flavours
from mlpinf_core.tensorrt.build import build
from mlpinf_core.tensorrt.quantise import Kind, Product, calibrate, products, quantise
from mlpinf_core.tensorrt.spec import EngineSpec, Range

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

FEEDS = [
    {"x": np.random.default_rng(seed).standard_normal((3, 16)).astype(np.float32)}
    for seed in range(4)
]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two products with weights, and one of two activations, which stays as it is."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (16, 16)), ("v", (16, 8)))
    ]
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gemm", ["x", "w"], ["a"], transB=1),
                helper.make_node("MatMul", ["a", "v"], ["b"]),
                helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0]),
                helper.make_node("MatMul", ["b", "c"], ["y"]),
            ],
            "two",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "batch"])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    path = tmp_path / "two.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(("kind", "apart"), [("int8", 0.03), ("fp8", 0.1)])
def test_an_eight_bit_graph_computes_nearly_the_same(graph: Path, kind: Kind, apart: float) -> None:
    small = graph.with_suffix(f".{kind}.onnx")
    largest = calibrate(graph, FEEDS)

    assert quantise(graph, small, largest, kind) == 2

    wanted, found = (
        onnxruntime.InferenceSession(str(path)).run(None, FEEDS[0])[0] for path in (graph, small)
    )
    assert 0 < np.abs(found - wanted).mean() / np.abs(wanted).mean() < apart


def test_calibration_sees_the_largest_magnitude_of_all_batches(graph: Path) -> None:
    most = max(float(np.abs(feed["x"]).max()) for feed in FEEDS)

    assert calibrate(graph, FEEDS)["x"] == pytest.approx(most)


def test_a_graph_whose_weights_lie_in_another_file_stays_so(graph: Path) -> None:
    import onnx

    apart = graph.with_name("apart.onnx")
    whole = onnx.load(str(graph))
    onnx.save(
        whole, str(apart), save_as_external_data=True, location="apart.data", size_threshold=0
    )
    small = apart.with_name("small.onnx")

    assert calibrate(apart, FEEDS) == calibrate(graph, FEEDS)
    assert products(apart) == products(graph)
    assert quantise(apart, small, calibrate(apart, FEEDS), "int8") == 2

    assert small.with_name("small.onnx.data").exists()
    assert {path.name for path in graph.parent.glob(".*")} == set()
    found, wanted = (
        onnxruntime.InferenceSession(str(path)).run(None, FEEDS[0])[0] for path in (small, graph)
    )
    assert 0 < np.abs(found - wanted).mean() / np.abs(wanted).mean() < 0.03


def test_the_products_of_a_graph_are_told_in_its_order(graph: Path) -> None:
    assert products(graph) == (
        Product("x", "w", "Gemm", (16, 16)),
        Product("a", "v", "MatMul", (16, 8)),
    )


def test_calibration_without_batches_is_refused(graph: Path) -> None:
    with pytest.raises(BackendError, match="nothing to calibrate with") as refused:
        calibrate(graph, [])

    assert refused.value.remedy


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_calibration_with_something_other_than_numbers_ends_at_once(
    value: float, graph: Path
) -> None:
    bad = {"x": np.zeros((3, 16), np.float32)}
    bad["x"][1, 7] = value
    rest = iter([FEEDS[0], bad, *FEEDS[1:]])

    with pytest.raises(BackendError, match="infinite or not a number") as refused:
        calibrate(graph, rest)

    assert refused.value.where == "tensor x, batch 2"
    assert "float32" in str(refused.value.remedy)
    assert len(list(rest)) == len(FEEDS) - 1


def written(folder: Path, nodes: list[Any], weights: dict[str, npt.NDArray[Any]]) -> Path:
    """A graph from x [batch, 16] to y [batch, 16]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 16]) for name in ("x", "y")
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            ends[:1],
            ends[1:],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    path = folder / "graph.onnx"
    onnx.save(model, str(path))
    return path


def test_of_two_products_of_one_activation_only_the_wanted_is_quantised(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    path = written(
        tmp_path,
        [
            helper.make_node("MatMul", ["x", "wanted"], ["a"]),
            helper.make_node("MatMul", ["x", "other"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        {name: np.eye(16, dtype=np.float32) for name in ("wanted", "other")},
    )

    assert quantise(path, path, {"x": 1.0}, "int8", {"wanted"}) == 1

    first, second = (one for one in onnx.load(str(path)).graph.node if one.op_type == "MatMul")
    assert list(first.input) == ["x_dequantised", "wanted_dequantised"]
    assert list(second.input) == ["x", "other"]


def test_a_graphs_weights_are_quantised_in_its_order(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    tensors = ["x", *(f"t{index}" for index in range(7)), "y"]
    names = [f"w{index}" for index in range(8)]
    path = written(
        tmp_path,
        [
            helper.make_node("MatMul", [tensors[index], name], [tensors[index + 1]])
            for index, name in enumerate(names)
        ],
        {name: np.eye(16, dtype=np.float32) for name in names},
    )

    quantise(path, path, dict.fromkeys(tensors, 1.0), "int8")

    nodes = onnx.load(str(path)).graph.node
    found = [one.input[0] for one in nodes if one.op_type == "QuantizeLinear"]
    assert [name for name in found if name in names] == names


def test_a_graph_that_starts_with_its_only_product_is_calibrated(tmp_path: Path) -> None:
    path = one_product(tmp_path, np.ones((16, 8), np.float32))

    assert calibrate(path, FEEDS[:1]) == {"x": pytest.approx(float(np.abs(FEEDS[0]["x"]).max()))}


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_output_whose_weights_are_zero_has_a_scale(
    tmp_path: Path, kind: Kind, dtype: type
) -> None:
    import onnx
    from onnx import numpy_helper

    weights = np.ones((16, 8), dtype)
    weights[:, 3] = 0
    path = one_product(tmp_path, weights if kind == "int8" else np.zeros_like(weights))

    quantise(path, path, {"x": 0.0}, kind)

    scales = {
        one.name: numpy_helper.to_array(one)
        for one in onnx.load(str(path)).graph.initializer
        if one.name.endswith("_scale")
    }
    assert len(scales) == 2
    for scale in scales.values():
        assert scale.dtype == dtype
        assert (scale > 0).all()


def one_product(folder: Path, weights: npt.NDArray[Any]) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(weights.dtype)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "one",
            [helper.make_tensor_value_info("x", kind, ["batch", 16])],
            [helper.make_tensor_value_info("y", kind, ["batch", 8])],
            [numpy_helper.from_array(weights, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    path = folder / "one.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.skipif(
    flavours.RTX not in flavours.installed(),
    reason="tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13-bindings "
    "tensorrt-rtx-cu13-libs",
)
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_an_engine_is_built_of_an_eight_bit_graph(graph: Path, kind: Kind) -> None:
    small = graph.with_suffix(f".{kind}.onnx")
    quantise(graph, small, calibrate(graph, FEEDS), kind)

    found = build(
        flavours.load(flavours.RTX),
        small,
        EngineSpec("two", {"x": Range.batches(8, (16,))}, target="8.9", precision=kind),
    )

    assert len(found.engine) > 1000
