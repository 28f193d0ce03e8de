"""The UNet in 8 bits: its products' scales, and its graph with them.

onnxruntime measures what enters each product, over the inputs that :mod:`mlpinf_sdxl.feeding`
gives. The scales are an artifact of their own, so that an engine for another GPU or batch size
finds them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import torch
from torch import nn

from mlpinf_core.errors import BackendError
from mlpinf_core.tensorrt import quantise as eight_bit
from mlpinf_core.tensorrt.store import FOLDER
from mlpinf_sdxl import feeding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlpinf_core.artifacts import ArtifactStore
    from mlpinf_core.tensorrt.quantise import Kind, Product
    from mlpinf_sdxl.feeding import Announce, Calibration

_ARTIFACT: Final = "unet-calibration"
_SCALES: Final = "scales.json"
_LINEAR: Final = "MatMul"
"""What a linear layer of a transformer is in the graph; one of the embeddings is a Gemm."""
_TRANSFORMER: Final = re.compile(r"\battentions\.\d+\.")
_EXACT: Final = re.compile(r"\b(conv_in|conv_out|conv_shortcut)\b")
"""The first convolution, the last and the shortcuts. A shortcut's input is a sum that no norm comes
before; so are those of the samplers' convolutions, but the tiny images are no nearer without them.
"""


def _whole(sizes: Iterable[int]) -> tuple[int, ...]:
    return tuple(sizes)


@attrs.frozen
class Scale:
    """What was measured for a product of the UNet.

    Attributes:
        operator: of ONNX.
        weights: their name in the graph.
        shape: of the weights.
        largest: magnitude of the activation.
    """

    operator: str
    weights: str
    shape: tuple[int, ...] = attrs.field(converter=_whole)
    largest: float

    @classmethod
    def of(cls, product: Product, largest: float) -> Scale:
        """The scale of a product."""
        return cls(product.operator, product.weights, product.shape, largest)

    def fits(self, product: Product) -> bool:
        """Whether it was measured for this product, by all that is known of it."""
        return self == Scale.of(product, self.largest)


@attrs.frozen
class Scales:
    """What was measured for a UNet.

    Attributes:
        path: of the artifact.
        each: product's, in the graph's order.
    """

    path: Path
    each: tuple[Scale, ...]


def count(unet: nn.Module, layers: str) -> int:
    """How many layers of a UNet are to be computed in 8 bits.

    Args:
        unet: the module, with weights or without.
        layers: ``linear`` is those of the transformers; ``all`` has most convolutions too.
    """
    return sum(
        (isinstance(module, nn.Linear) and _TRANSFORMER.search(name) is not None)
        or (layers == "all" and isinstance(module, nn.Conv2d) and not _EXACT.search(name))
        for name, module in unet.named_modules()
    )


def quantised(graph: Path, scales: Scales, kind: Kind, layers: str, least: int) -> Path:
    """Write the 8-bit graph of an exported UNet beside it; its path.

    Args:
        graph: of the UNet, in any type.
        scales: of its products.
        kind: of 8 bits.
        layers: ``linear`` or ``all``.
        least: how many products have to be in 8 bits, as :func:`count` gives it.

    Raises:
        BackendError: the scales are another graph's, or fewer products can be quantised.
    """
    products = eight_bit.products(graph)
    fit = len(products) == len(scales.each) and all(
        scale.fits(product) for product, scale in zip(products, scales.each, strict=True)
    )
    if not fit:
        raise BackendError(
            "the scales that were calibrated are those of another graph than this UNet's",
            where=str(scales.path),
            remedy="remove that folder and build again; if that does not help, set backend.dtype "
            "to float32, which calibration computes in",
        )
    largest: dict[str, float] = {}
    for product, scale in zip(products, scales.each, strict=True):
        largest[product.activation] = scale.largest
    wanted = {product.weights for product in _wanted(products, layers)}
    target = graph.with_name(f"{graph.stem}.{kind}.onnx")
    _require(eight_bit.quantise(graph, target, largest, kind, wanted), least)
    return target


def _wanted(products: Iterable[Product], layers: str) -> list[Product]:
    """Those that are to be computed in 8 bits."""
    return [
        product
        for product in products
        if product.operator == _LINEAR
        or (layers == "all" and product.operator == "Conv" and not _EXACT.search(product.weights))
    ]


def _require(found: int, least: int) -> None:
    """An engine that is called int8 and computes otherwise would pass for a slow one."""
    if found < least:
        raise BackendError(
            f"the UNet's graph has {found} products with weights to quantise, and the UNet "
            f"{least} such layers",
            where="backend.unet_quantization",
            remedy="pip install --upgrade 'onnxscript>=0.5', which leaves weights as they are "
            "multiplied; or set backend.unet_quantization to none",
        )


def measured(store: ArtifactStore, how: Calibration, announce: Announce) -> Scales:
    """What enters each product of the UNet: found, or measured now.

    Args:
        store: of the run.
        how: to calibrate.
        announce: told of a sentence, and of captions done and to do.

    Raises:
        BackendError: an activation is infinite or not a number, or the graph's linear layers are
            not products with weights.
    """

    def make(directory: Path) -> None:
        graph = directory / "graph"
        graph.mkdir()
        announce("exporting unet to calibrate it", 0, 0)
        path, unet = feeding.export(how, graph)
        products = eight_bit.products(path)
        _require(len(_wanted(products, "linear")), count(unet, "linear"))
        largest = eight_bit.calibrate(path, feeding.feeds(how, unet, announce))
        for file in graph.iterdir():
            file.unlink()
        graph.rmdir()
        rows = [attrs.asdict(Scale.of(one, largest[one.activation])) for one in products]
        (directory / _SCALES).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")

    artifact = store.build(
        FOLDER, _ARTIFACT, how.inputs(), make, announce=lambda sentence: announce(sentence, 0, 0)
    )
    # PyTorch keeps the memory of modules that are gone, and TensorRT is about to want it.
    torch.cuda.empty_cache()
    rows = json.loads((artifact.path / _SCALES).read_text("utf-8"))
    return Scales(artifact.path, tuple(Scale(**row) for row in rows))
