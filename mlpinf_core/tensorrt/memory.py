"""CUDA through ``cuda-python``: streams, events, device and pinned host memory."""

from __future__ import annotations

import ctypes
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import BackendError, PrerequisiteError


def cuda() -> Any:
    """The runtime interface of ``cuda-python``.

    Raises:
        PrerequisiteError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as problem:
        raise PrerequisiteError(
            f"cuda-python is not installed: {problem}",
            remedy="pip install 'mlpinf-core[tensorrt]'",
        ) from problem
    return runtime


def checked(result: tuple[Any, ...]) -> Any:
    """What a call of the runtime interface returned, after its status.

    Raises:
        BackendError: the status is an error; with CUDA's own words.
    """
    status, *values = result
    if int(status) != 0:
        runtime = cuda()
        _, name = runtime.cudaGetErrorName(status)
        _, text = runtime.cudaGetErrorString(status)
        raise BackendError(f"CUDA failed: {_text(name)}: {_text(text)}")
    return values[0] if len(values) == 1 else tuple(values)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def capability(device: int = 0) -> str:
    """Compute capability of a GPU, ``9.0``.

    Raises:
        PrerequisiteError: ``cuda-python`` is not installed, or there is no such GPU.
    """
    runtime = cuda()
    attribute = runtime.cudaDeviceAttr
    try:
        major, minor = (
            checked(runtime.cudaDeviceGetAttribute(what, device))
            for what in (
                attribute.cudaDevAttrComputeCapabilityMajor,
                attribute.cudaDevAttrComputeCapabilityMinor,
            )
        )
    except (BackendError, RuntimeError) as problem:  # no driver is the second
        raise PrerequisiteError(
            f"there is no CUDA device {device}: {problem}",
            remedy="check the driver, or name the target to build for",
        ) from problem
    return f"{major}.{minor}"


@attrs.define(eq=False)
class Stream:
    """A queue of work on the device.

    Attributes:
        handle: of CUDA.
        owned: whether closing it destroys it.
    """

    handle: int
    owned: bool = False

    @classmethod
    def new(cls) -> Self:
        """One of its own, which does not wait for the default stream."""
        runtime = cuda()
        made = checked(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking))
        return cls(int(made), owned=True)

    def wait(self) -> None:
        """Until all that was queued is done."""
        checked(cuda().cudaStreamSynchronize(self.handle))

    def close(self) -> None:
        """Destroy it, if it is ours."""
        if self.owned:
            self.owned = False
            checked(cuda().cudaStreamDestroy(self.handle))


@attrs.define(eq=False)
class DeviceMemory:
    """Bytes on the device.

    Attributes:
        address: of the first.
        size: how many.
    """

    address: int
    size: int

    @classmethod
    def new(cls, size: int) -> Self:
        """Take memory.

        Raises:
            BackendError: there is too little.
        """
        return cls(int(checked(cuda().cudaMalloc(max(1, size)))), size)

    def close(self) -> None:
        """Give it back."""
        if self.address:
            address, self.address = self.address, 0
            checked(cuda().cudaFree(address))


@attrs.define(eq=False)
class PinnedArray:
    """An array in host memory that the device copies from and to by itself.

    Attributes:
        array: the numbers; a view of memory that :meth:`close` gives back.
        address: of the first byte.
    """

    array: npt.NDArray[Any]
    address: int

    @classmethod
    def new(cls, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Self:
        """Take memory; what is in it is undefined."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        address = int(checked(cuda().cudaMallocHost(max(1, size))))
        raw = (ctypes.c_ubyte * size).from_address(address)
        return cls(np.frombuffer(memoryview(raw), kind).reshape(shape), address)

    def to_device(self, target: int, stream: Stream) -> None:
        """Copy all of it to an address on the device, in a stream's turn."""
        self._copy(target, self.address, cuda().cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def from_device(self, source: int, stream: Stream) -> None:
        """Copy all of it from an address on the device, in a stream's turn."""
        self._copy(self.address, source, cuda().cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def close(self) -> None:
        """Give the memory back; the array must not be used afterwards."""
        if self.address:
            address, self.address = self.address, 0
            checked(cuda().cudaFreeHost(address))

    def _copy(self, target: int, source: int, kind: Any, stream: Stream) -> None:
        checked(cuda().cudaMemcpyAsync(target, source, self.array.nbytes, kind, stream.handle))
