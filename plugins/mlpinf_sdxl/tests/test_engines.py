"""The tiny pipeline's four engines are built on a machine without a GPU, and only when needed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.scratch import Scratch
from mlpinf_core.tensorrt import flavour as flavours
from mlpinf_core.tensorrt.spec import EngineSpec
from mlpinf_core.tensorrt.store import EngineFile, built
from mlpinf_sdxl import checkpoint, engines, exporting, tiny

if TYPE_CHECKING:
    from pathlib import Path

TARGET = "8.9"
SIDE, TOKENS, BATCH = 16, 24, 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        flavours.RTX not in flavours.installed(),
        reason="tensorrt_rtx is not installed: pip install tensorrt-rtx-cu13-bindings "
        "tensorrt-rtx-cu13-libs",
    ),
]


def module(export: exporting.Export) -> Any:
    return checkpoint.load(export.module, tiny.pipeline(), torch.float32, torch.device("cpu"))


def graph(export: exporting.Export, path: Path) -> dict[str, tuple[int, ...]]:
    whole = module(export)
    trailing = exporting.shapes(export, whole, SIDE, TOKENS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        exporting.write(export, whole, trailing, path, torch.float32)
    return trailing


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    found = {}
    for export in exporting.EXPORTS:
        found[export.engine] = folder / f"{export.engine}.onnx"
        graph(export, found[export.engine])
    return found


@pytest.mark.parametrize("export", exporting.EXPORTS, ids=lambda export: export.engine)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_graph_computes_what_its_module_computes(
    export: exporting.Export, rows: int, graphs: dict[str, Path]
) -> None:
    import onnxruntime

    whole = module(export)
    given = exporting.example(
        export, exporting.shapes(export, whole, SIDE, TOKENS), rows, torch.float32
    )
    with torch.inference_mode():
        wanted = export.wrap(whole)(**given)
    session = onnxruntime.InferenceSession(str(graphs[export.engine]))

    found = session.run(None, {name: value.numpy() for name, value in given.items()})

    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-3)


def engine(
    scratch: Path, export: exporting.Export, graphs: dict[str, Path], said: list[str], **how: Any
) -> EngineFile:
    trailing = exporting.shapes(export, module(export), SIDE, TOKENS)
    spec = EngineSpec(
        export.engine,
        engines.profile(export, trailing, how.pop("batch", BATCH), BATCH),
        target=TARGET,
        **how,
    )
    return built(
        ArtifactStore(Scratch(scratch)),
        flavours.load(flavours.RTX),
        spec,
        {"weights": "the same"},
        lambda folder: _linked(graphs[export.engine], folder),
        lambda sentence, done, total: said.append(sentence),
        target=TARGET,
    )


def _linked(path: Path, folder: Path) -> Path:
    for file in path.parent.glob(f"{path.name}*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / path.name


@pytest.mark.parametrize("export", exporting.EXPORTS, ids=lambda export: export.engine)
def test_an_engine_says_what_it_is_for(
    export: exporting.Export, graphs: dict[str, Path], tmp_path: Path
) -> None:
    found = engine(tmp_path, export, graphs, [])

    shapes = exporting.shapes(export, module(export), SIDE, TOKENS)
    inputs = {one.name: one.shape for one in found.bindings if one.is_input}
    assert inputs == {
        name: shape if name in export.fixed else (-1, *shape) for name, shape in shapes.items()
    }
    assert tuple(one.name for one in found.bindings if not one.is_input) == export.outputs
    assert (found.target, found.flavour, found.precision) == (TARGET, flavours.RTX, "float32")
    assert found.contents(flavours.load(flavours.RTX), TARGET)
    for name, shape in shapes.items():
        if name not in export.fixed:
            most = 2 * BATCH if export.engine == "unet" else BATCH
            assert found.profile[name].most == (most, *shape)


def test_an_engine_is_built_again_only_for_a_change_that_is_named(
    graphs: dict[str, Path], tmp_path: Path
) -> None:
    export = exporting.EXPORTS[0]
    said: list[str] = []
    first = engine(tmp_path, export, graphs, said)
    built_once = len(said)

    again = engine(tmp_path, export, graphs, said)
    other = engine(tmp_path, export, graphs, said, level=1)

    assert again.path == first.path
    assert other.path != first.path
    assert "level" in said[built_once]


def test_a_unet_in_half_precision_is_built_with_its_own_types(tmp_path: Path) -> None:
    from mlpinf_core.tensorrt.build import build

    export = exporting.EXPORTS[2]
    whole = checkpoint.load(export.module, tiny.pipeline(), torch.float16, torch.device("cpu"))
    trailing = exporting.shapes(export, whole, SIDE, TOKENS)
    path = tmp_path / "unet.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        exporting.write(export, whole, trailing, path, torch.float16)

    found = build(
        flavours.load(flavours.RTX),
        path,
        EngineSpec(
            export.engine,
            engines.profile(export, trailing, BATCH, BATCH),
            target=TARGET,
            precision="float16",
        ),
    )

    kinds = {one.name: one.dtype for one in found.bindings}
    assert kinds.pop("timestep") == "FLOAT"
    assert set(kinds.values()) == {"HALF"}
