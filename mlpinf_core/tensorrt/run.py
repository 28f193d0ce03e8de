"""Running engines: several contexts over one piece of scratch memory, and CUDA graphs.

Tensors stay where they are: an engine is told the addresses of its inputs and outputs, so those of
PyTorch need no copy. Contexts that share scratch memory must run one after the other, on one
stream.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import BackendError
from mlpinf_core.tensorrt.memory import DeviceMemory, Stream, checked, cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpinf_core.tensorrt.flavour import Flavour
    from mlpinf_core.tensorrt.store import EngineFile


@attrs.frozen
class Place:
    """Where a tensor is.

    Attributes:
        address: of its first byte, on the device.
        shape: of it.
    """

    address: int
    shape: tuple[int, ...]

    @classmethod
    def of_torch(cls, tensor: Any) -> Place:
        """A tensor of PyTorch, as it is.

        Raises:
            BackendError: it is not on a device, or its elements do not lie one after the other.
        """
        if not tensor.is_cuda or not tensor.is_contiguous():
            raise BackendError(
                f"a tensor on {tensor.device} with strides {tensor.stride()} cannot be bound",
                remedy="hand over contiguous tensors on the device",
            )
        return cls(tensor.data_ptr(), tuple(tensor.shape))


class Engine:
    """A deserialised engine, with a context for each combination of its inputs' shapes."""

    def __init__(self, file: EngineFile, flavour: Flavour, target: str) -> None:
        """Load it.

        Args:
            file: on disk.
            flavour: of the TensorRT that is there.
            target: the GPU's compute capability.

        Raises:
            BackendError: it does not fit this GPU or this TensorRT, or TensorRT refuses it.
            IntegrityError: it is cut off or changed.
        """
        trt = flavour.module
        contents = file.contents(flavour, target)
        flavour.errors.take()
        self._flavour = flavour
        self._runtime = trt.Runtime(flavour.logger)
        self._engine = self._runtime.deserialize_cuda_engine(contents)
        if self._engine is None:
            raise flavour.failed(
                f"TensorRT cannot load the engine {file.name}", where=str(file.path)
            )
        self.file = file
        self._inputs = tuple(binding.name for binding in file.bindings if binding.is_input)
        self._outputs = tuple(binding.name for binding in file.bindings if not binding.is_input)
        self._contexts: dict[tuple[tuple[int, ...], ...], Any] = {}
        self._scratch: DeviceMemory | None = None

    @property
    def scratch_size(self) -> int:
        """Bytes of scratch memory that it needs."""
        return int(self._engine.device_memory_size_v2)

    def use(self, scratch: DeviceMemory) -> None:
        """Compute in this memory, which others may use at other times."""
        self._scratch = scratch
        self._contexts.clear()

    def output_shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for shapes of the inputs.

        Raises:
            BackendError: a shape is missing, or outside the profile that the engine was built with.
        """
        context = self._context(inputs)
        return {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}

    def enqueue(self, places: Mapping[str, Place], stream: Stream) -> None:
        """Queue one inference.

        Args:
            places: of every input and output.
            stream: whose turn it takes.

        Raises:
            BackendError: a tensor is missing or does not fit, or TensorRT fails.
        """
        missing = {binding.name for binding in self.file.bindings} - set(places)
        if missing:
            raise BackendError(f"{self.file.name} is not given {', '.join(sorted(missing))}")
        context = self._context({name: places[name].shape for name in self._inputs})
        for name, place in places.items():
            context.set_tensor_address(name, place.address)
        if not context.execute_async_v3(stream.handle):
            raise self._flavour.failed(f"TensorRT failed to run the engine {self.file.name}")

    def require_capturable(self, inputs: Mapping[str, tuple[int, ...]], stream: Stream) -> None:
        """See that the engine can be recorded as a part of a CUDA graph; not while recording.

        Args:
            inputs: shapes of them.
            stream: on which it will be recorded.

        Raises:
            BackendError: it cannot; the datacenter's TensorRT does not tell.
        """
        can = getattr(self._context(inputs), "is_stream_capturable", None)
        if can is not None and not can(stream.handle):
            raise self._flavour.failed(
                f"the engine {self.file.name} cannot be recorded as a CUDA graph",
                where=str(self.file.path),
                remedy="set backend.cuda_graphs=false",
            )

    def _context(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """The context of these shapes.

        Each has one of its own: a CUDA graph that was recorded with a context stays right only as
        long as the context's shapes do.
        """
        if missing := [name for name in self._inputs if name not in shapes]:
            raise BackendError(f"{self.file.name} is not given {', '.join(missing)}")
        key = tuple(shapes[name] for name in self._inputs)
        if key not in self._contexts:
            self._contexts[key] = self._new_context(shapes)
        return self._contexts[key]

    def _new_context(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        if self._scratch is None:
            raise RuntimeError("an engine has no scratch memory yet")
        for name in self._inputs:
            self._require(name, shapes[name])
        strategy = self._flavour.module.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self._flavour.failed(
                f"TensorRT cannot make a context of the engine {self.file.name}"
            )
        context.set_device_memory(self._scratch.address, self._scratch.size)
        for name in self._inputs:
            if not context.set_input_shape(name, shapes[name]):
                raise self._flavour.failed(f"TensorRT refuses {name} of {list(shapes[name])}")
        if unknown := context.infer_shapes():
            raise self._flavour.failed(f"shapes are missing: {', '.join(unknown)}")
        return context

    def _require(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a shape that the engine was not built for."""
        allowed = self.file.profile.get(name)
        if allowed is None or not allowed.admits(shape):
            raise BackendError(
                f"the engine {self.file.name} takes no {name} of {list(shape)}: it was built "
                f"for {allowed and [list(s) for s in attrs.astuple(allowed)]}",
                where=str(self.file.path),
                remedy="build it with a wider profile, or lower sut.max_batch_size",
            )


def share_scratch(engines: Sequence[Engine]) -> DeviceMemory:
    """One piece of scratch memory for engines that run one after the other."""
    memory = DeviceMemory.new(max(engine.scratch_size for engine in engines))
    for engine in engines:
        engine.use(memory)
    return memory


_CAPTURING = threading.Lock()


class Graph:
    """Work on a stream, recorded once and replayed; one is needed for each batch size."""

    def __init__(self, work: Callable[[], None], stream: Stream) -> None:
        """Record.

        Args:
            work: queues it on the stream; called twice, since the first time libraries set
                themselves up.
            stream: where it is recorded, and replayed.
        """
        runtime = cuda()
        work()
        stream.wait()
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        with _CAPTURING:
            checked(runtime.cudaStreamBeginCapture(stream.handle, mode))
            try:
                work()
            finally:
                graph = checked(runtime.cudaStreamEndCapture(stream.handle))
        self._executable = checked(runtime.cudaGraphInstantiate(graph, 0))
        checked(runtime.cudaGraphDestroy(graph))
        self._stream = stream

    def replay(self) -> None:
        """Queue the recorded work."""
        checked(cuda().cudaGraphLaunch(self._executable, self._stream.handle))

    def close(self) -> None:
        """Forget it."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            checked(cuda().cudaGraphExecDestroy(executable))
