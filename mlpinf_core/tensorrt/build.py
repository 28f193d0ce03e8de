"""From ONNX to a serialised engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.names import lookup

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.tensorrt.flavour import Flavour
    from mlpinf_core.tensorrt.spec import EngineSpec


@attrs.frozen
class Binding:
    """An input or output of an engine.

    Attributes:
        name: as the ONNX graph has it.
        is_input: whether it is one.
        dtype: of its elements, by TensorRT's name (``FLOAT``).
        shape: -1 where it changes.
    """

    name: str
    is_input: bool
    dtype: str
    shape: tuple[int, ...]


@attrs.frozen(eq=False)
class Built:
    """What came out.

    Attributes:
        engine: serialised.
        bindings: its inputs, then its outputs.
        timing_cache: what was measured while building, for the next build; empty where nothing is.
    """

    engine: bytes
    bindings: tuple[Binding, ...]
    timing_cache: bytes


def build(
    flavour: Flavour,
    onnx: Path,
    spec: EngineSpec,
    *,
    timing_cache: bytes = b"",
    progress: Callable[[str, int, int], None] | None = None,
) -> Built:
    """Build an engine.

    Args:
        flavour: of TensorRT.
        onnx: the graph.
        spec: how to build.
        timing_cache: of an earlier build.
        progress: told of a phase, its steps done and all of its steps.

    Raises:
        BackendError: TensorRT refuses; with its reasons.
        ConfigurationError: the profile names other inputs than the graph, or the target is none
            that this flavour builds for.
    """
    trt = flavour.module
    flavour.errors.take()
    builder = trt.Builder(flavour.logger)
    if not builder:
        raise flavour.failed("TensorRT's builder cannot be made")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, flavour.logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise flavour.failed(
            f"TensorRT cannot read the graph of {spec.name}: {'; '.join(reasons)}",
            where=str(onnx),
        )
    config = _config(flavour, builder, network, spec)
    cache = config.create_timing_cache(timing_cache) if flavour.measures else None
    if cache is not None:
        config.set_timing_cache(cache, True)
    monitor = _monitor(trt, progress) if progress else None
    if monitor is not None:
        config.progress_monitor = monitor
    serialised = builder.build_serialized_network(network, config)
    if serialised is None:
        raise flavour.failed(f"TensorRT could not build the engine {spec.name}", where=str(onnx))
    kept = b"" if cache is None else bytes(config.get_timing_cache().serialize())
    return Built(bytes(serialised), _bindings(network), kept)


_CAPTURABLE = "REQUIRE_USER_ALLOCATION"
"""The flag with which RTX's engines allocate nothing while they run, as CUDA graphs want it."""


def _config(flavour: Flavour, builder: Any, network: Any, spec: EngineSpec) -> Any:
    trt = flavour.module
    config = builder.create_builder_config()
    _set_profile(builder, network, config, spec)
    _set_target(flavour, config, spec)
    if spec.level is not None:
        config.builder_optimization_level = spec.level
    if spec.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace)
    known = dict(trt.BuilderFlag.__members__)
    if flavour.ahead_of_time and _CAPTURABLE in known:
        config.set_flag(known[_CAPTURABLE])
    for name in spec.flags:
        config.set_flag(lookup("builder flag", name, known))
    return config


def _set_profile(builder: Any, network: Any, config: Any, spec: EngineSpec) -> None:
    names = {network.get_input(index).name for index in range(network.num_inputs)}
    if names != set(spec.profile):
        raise ConfigurationError(
            f"the graph of {spec.name} has the inputs {', '.join(sorted(names))}, and its profile "
            f"{', '.join(sorted(spec.profile))}",
            remedy="give a range of shapes for each of the graph's inputs",
        )
    profile = builder.create_optimization_profile()
    for name, shapes in spec.profile.items():
        profile.set_shape(name, shapes.least, shapes.usual, shapes.most)
    config.add_optimization_profile(profile)


def _set_target(flavour: Flavour, config: Any, spec: EngineSpec) -> None:
    if spec.target is None:
        return
    if not flavour.ahead_of_time:
        raise ConfigurationError(
            f"{flavour.name} builds for the GPU that it runs on, and not for {spec.target}",
            remedy="leave the target out, or build with tensorrt_rtx",
        )
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in flavour.module.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    config.num_compute_capabilities = 1
    config.set_compute_capability(lookup("compute capability", spec.target, known), 0)


def _bindings(network: Any) -> tuple[Binding, ...]:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    return tuple(
        Binding(tensor.name, is_input, tensor.dtype.name, tuple(tensor.shape))
        for is_input, tensors in ((True, inputs), (False, outputs))
        for tensor in tensors
    )


_TELLING = 3
"""Phases of so few steps pass in a moment."""


def _monitor(trt: Any, progress: Callable[[str, int, int], None]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # known now only
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._steps.get(phase_name, 0)
            if steps > _TELLING:
                progress(phase_name, step + 1, steps)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
