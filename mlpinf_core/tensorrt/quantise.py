"""8-bit graphs: quantise and dequantise nodes around products, with scales from calibration.

A strongly typed network computes in 8 bits where both inputs of a product come from such pairs of
nodes. Activations get one scale, from the largest magnitude that calibration saw; so do weights in
FP8, while INT8 has one for each output of a convolution or a Gemm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import numpy as np

from mlpinf_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

Kind = Literal["int8", "fp8"]
_LARGEST: Final = {"int8": 127.0, "fp8": 448.0}
"""The largest number that the type holds; FP8 is E4M3."""
_PRODUCTS: Final = ("Conv", "Gemm", "MatMul")
_OPSET: Final = 19
"""The first whose quantisation knows FP8; nothing else that is exported changed with it."""
_SMALLEST: Final = 1e-6


@attrs.frozen
class Product:
    """A product of an activation with weights.

    Attributes:
        activation: name of the tensor that enters it.
        weights: their name.
        operator: of ONNX.
        shape: of the weights.
    """

    activation: str
    weights: str
    operator: str
    shape: tuple[int, ...]


def products(onnx_path: Path) -> tuple[Product, ...]:
    """The products of a graph, in its order; the weights' numbers are not read."""
    import onnx

    model = onnx.load(str(onnx_path), load_external_data=False)
    shapes = {one.name: tuple(one.dims) for one in model.graph.initializer}
    return tuple(
        Product(node.input[0], node.input[1], node.op_type, shapes[node.input[1]])
        for node in _products(model)
    )


def calibrate(onnx_path: Path, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]) -> dict[str, float]:
    """The largest magnitude of each activation that enters a product.

    Only these numbers leave the session, one a tensor, so that it holds no more than the graph
    needs to compute a batch; and of the feeds there is one at a time.

    Args:
        onnx_path: the graph, in float32 or float16; a second one is written beside it for a while.
        feeds: inputs, one batch after the other.

    Raises:
        BackendError: there are no batches, or an activation is infinite or not a number; names the
            first such and its batch, and takes no more of them.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(onnx_path), load_external_data=False)
    names = list(dict.fromkeys(node.input[0] for node in _products(model)))
    outputs = _magnitudes(model, names)
    # In a file: a graph of more than 2 GB has its weights in others, found beside it.
    measuring = onnx_path.with_name(f".{onnx_path.name}.calibrating")
    try:
        onnx.save(model, str(measuring))
        session = onnxruntime.InferenceSession(str(measuring), providers=["CPUExecutionProvider"])
    finally:
        measuring.unlink(missing_ok=True)
    largest = np.zeros(len(names))
    batches = 0
    for batches, feed in enumerate(feeds, 1):
        found = np.array(session.run(outputs, dict(feed)), np.float64)
        if not np.isfinite(found).all():
            first = names[int(np.argmin(np.isfinite(found)))]
            raise BackendError(
                "calibration failed: an activation is infinite or not a number",
                where=f"tensor {first}, batch {batches}",
                remedy="look for such numbers in the weights and in what they are calibrated "
                "with, and calibrate in float32, where the fewest overflow",
            )
        largest = np.maximum(largest, found)
    if not batches:
        raise BackendError(
            "calibration failed: there is nothing to calibrate with",
            where=onnx_path.name,
            remedy="give one batch of inputs at least",
        )
    return dict(zip(names, largest.tolist(), strict=True))


def _magnitudes(model: Any, names: Iterable[str]) -> list[str]:
    """Let a graph give the largest magnitude of tensors, infinite where one is not a number."""
    from onnx import TensorProto, helper

    infinite = "calibration_infinite"
    model.graph.initializer.append(
        helper.make_tensor(infinite, TensorProto.FLOAT, (), [float("inf")])
    )
    outputs = []
    for name in names:
        wide, size, bad, known, out = (
            f"{name}_calibration_{part}" for part in ("wide", "size", "bad", "known", "largest")
        )
        model.graph.node.extend(
            [
                helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT),
                helper.make_node("Abs", [wide], [size]),
                helper.make_node("IsNaN", [size], [bad]),
                # What a maximum makes of something other than numbers depends on its order.
                helper.make_node("Where", [bad, infinite, size], [known]),
                helper.make_node("ReduceMax", [known], [out], keepdims=0),
            ]
        )
        model.graph.output.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, ()))
        outputs.append(out)
    return outputs


def quantise(
    source: Path,
    target: Path,
    largest: Mapping[str, float],
    kind: Kind,
    weights: Container[str] | None = None,
) -> int:
    """Write an 8-bit graph.

    Args:
        source: the graph.
        target: the file to write.
        largest: of each activation, as :func:`calibrate` gives it; a product whose activation is
            not among them stays as it is.
        kind: of 8 bits.
        weights: names of those whose products are meant, another product of the same activation
            being left as it is; None is all.

    Returns:
        How many products are computed in 8 bits.
    """
    import onnx

    model = onnx.load(str(source))
    writer = _Writer(model, kind)
    done = 0
    for node in list(_products(model)):
        if node.input[0] in largest and (weights is None or node.input[1] in weights):
            scale = np.array(max(largest[node.input[0]], _SMALLEST) / _LARGEST[kind])
            node.input[1] = writer.weight(node)
            node.input[0] = writer.pair(node.input[0], scale, None, writer.dtype(node))
            done += 1
    writer.sort()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, _OPSET)
    _save(model, source, target)
    return done


def _save(model: Any, source: Path, target: Path) -> None:
    """Write a graph; as the source, with its weights in a file of their own or not."""
    import onnx
    from onnx.external_data_helper import uses_external_data

    read = onnx.load(str(source), load_external_data=False)
    apart = any(uses_external_data(one) for one in read.graph.initializer)
    where: dict[str, Any] = {"location": f"{target.name}.data"} if apart else {}
    if apart:
        (target.parent / where["location"]).unlink(missing_ok=True)  # it would be added to
    onnx.save(model, str(target), save_as_external_data=apart, **where)


def _products(model: Any) -> Iterator[Any]:
    """The products of an activation with weights."""
    weights = {one.name for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _PRODUCTS and node.input[1] in weights and node.input[0] not in weights:
            yield node


class _Writer:
    """Adds pairs of nodes to a graph, one a tensor."""

    def __init__(self, model: Any, kind: Kind) -> None:
        self._graph = model.graph
        self._kind = kind
        self._made: dict[str, str] = {}
        self._weights = {one.name: one for one in model.graph.initializer}
        self._new: list[Any] = []

    def dtype(self, node: Any) -> npt.DTypeLike:
        """What a product computes in: its weights' type before."""
        from onnx import helper

        return helper.tensor_dtype_to_np_dtype(self._original(node).data_type)

    def _original(self, node: Any) -> Any:
        name = node.input[1]
        return self._weights[name.removesuffix("_dequantised")]

    def weight(self, node: Any) -> str:
        """The pair around a product's weights."""
        from onnx import numpy_helper

        tensor = self._weights[node.input[1]]
        values = np.abs(numpy_helper.to_array(tensor).astype(np.float32))
        axis = _output_axis(node) if self._kind == "int8" else None
        if axis is None:
            most = values.max()
        else:
            most = values.max(axis=tuple(i for i in range(values.ndim) if i != axis))
        scale = np.maximum(most, _SMALLEST) / _LARGEST[self._kind]
        return self.pair(node.input[1], scale, axis, self.dtype(node))

    def pair(
        self,
        name: str,
        scale: npt.NDArray[Any] | np.floating[Any],
        axis: int | None,
        dtype: npt.DTypeLike,
    ) -> str:
        """Quantise and dequantise a tensor; the name of what comes out."""
        from onnx import TensorProto, helper, numpy_helper

        if name in self._made:
            return self._made[name]
        small, zero, out = (f"{name}_{part}" for part in ("scale", "zero", "dequantised"))
        scales = np.asarray(scale).astype(dtype)
        if scales.dtype == np.float16:  # where the smallest scales would be 0
            scales = np.maximum(scales, np.finfo(np.float16).tiny)
        self._graph.initializer.append(numpy_helper.from_array(scales, small))
        kind = TensorProto.INT8 if self._kind == "int8" else TensorProto.FLOAT8E4M3FN
        zeros = bytes(max(1, scales.size))
        self._graph.initializer.append(
            helper.make_tensor(zero, kind, scales.shape, zeros, raw=True)
        )
        more: dict[str, Any] = {} if axis is None else {"axis": axis}
        for operator, before, after in (
            ("QuantizeLinear", name, f"{name}_quantised"),
            ("DequantizeLinear", f"{name}_quantised", out),
        ):
            self._new.append(
                helper.make_node(operator, [before, small, zero], [after], name=after, **more)
            )
        self._made[name] = out
        return out

    def sort(self) -> None:
        """Put every new node where its input is there already."""
        # No set: its order would be another one in every process.
        given = dict.fromkeys([*(one.name for one in self._graph.input), *self._weights])
        waiting: dict[str, list[Any]] = {}
        for first, second in zip(self._new[::2], self._new[1::2], strict=True):
            waiting.setdefault(first.input[0], []).extend((first, second))
        order = [node for name in given for node in waiting.get(name, ())]
        for node in self._graph.node:
            order.append(node)
            order += [new for name in node.output for new in waiting.get(name, ())]
        del self._graph.node[:]
        self._graph.node.extend(order)


def _output_axis(node: Any) -> int | None:
    """The axis of a product's weights that its outputs lie along."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return 1
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if transposed else 1
