"""8-bit graphs: quantise and dequantise nodes around products, with scales from calibration.

A strongly typed network computes in 8 bits where both inputs of a product come from such pairs of
nodes. Activations get one scale, from the largest magnitude that calibration saw; so do weights in
FP8, while INT8 has one for each output of a convolution or a Gemm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlpinf_core.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

Kind = Literal["int8", "fp8"]
_LARGEST: Final = {"int8": 127.0, "fp8": 448.0}
"""The largest number that the type holds; FP8 is E4M3."""
_PRODUCTS: Final = ("Conv", "Gemm", "MatMul")
_OPSET: Final = 19
"""The first whose quantisation knows FP8; nothing else that is exported changed with it."""
_SMALLEST: Final = 1e-6


def calibrate(onnx_path: Path, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]) -> dict[str, float]:
    """The largest magnitude of each activation that enters a product.

    Args:
        onnx_path: the graph, in float32 or float16.
        feeds: inputs, one batch after the other.

    Raises:
        BackendError: there are no batches, or an activation is not a number.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(onnx_path))
    known = {output.name for output in model.graph.output} | {i.name for i in model.graph.input}
    names = sorted({node.input[0] for node in _products(model)})
    for name in names:
        if name not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    wanted = [name for name in names if name not in {i.name for i in model.graph.input}]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    largest = dict.fromkeys(names, 0.0)
    batches = 0
    for feed in feeds:
        batches += 1
        # Asked for nothing, a session computes every output.
        computed = session.run(wanted, dict(feed)) if wanted else []
        found = {**feed, **dict(zip(wanted, computed, strict=True))}
        for name in names:
            # NumPy's maximum keeps what is not a number, and Python's loses it.
            largest[name] = float(np.maximum(largest[name], np.abs(found[name]).max()))
    bad = [name for name, value in largest.items() if not np.isfinite(value)]
    if not batches or bad:
        what = f"{bad[0]} is not a number" if bad else "there is nothing to calibrate with"
        raise BackendError(f"calibration failed: {what}", where=str(onnx_path))
    return largest


def quantise(source: Path, target: Path, largest: Mapping[str, float], kind: Kind) -> int:
    """Write an 8-bit graph.

    Args:
        source: the graph.
        target: the file to write.
        largest: of each activation, as :func:`calibrate` gives it; a product whose activation is
            not among them stays as it is.
        kind: of 8 bits.

    Returns:
        How many products are computed in 8 bits.
    """
    import onnx

    model = onnx.load(str(source))
    writer = _Writer(model, kind)
    done = 0
    for node in list(_products(model)):
        if node.input[0] in largest:
            scale = np.array(max(largest[node.input[0]], _SMALLEST) / _LARGEST[kind])
            node.input[1] = writer.weight(node)
            node.input[0] = writer.pair(node.input[0], scale, None, writer.dtype(node))
            done += 1
    writer.sort()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, _OPSET)
    onnx.save(model, str(target))
    return done


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
        given = {one.name for one in self._graph.input} | set(self._weights)
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
