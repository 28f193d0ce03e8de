"""Which of NVIDIA's inference compilers can be used here, and what they say where they cannot."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gpu_parts.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = ("tensorrt_rtx", "tensorrt", "onnxruntime")


def measure(*, toy: bool) -> Iterator[Row]:
    """Import each, and make its smallest object."""
    del toy
    for name in MODULES:
        try:
            module = importlib.import_module(name)
            notes: dict[str, object] = {"version": module.__version__}
            if name == "onnxruntime":
                notes["providers"] = module.get_available_providers()
            else:
                builder = module.Builder(module.Logger(module.Logger.WARNING))
                notes["builder"] = str(builder)
            works = 1.0
        except Exception as error:  # noqa: BLE001 - the exact error is what is wanted
            notes, works = {"error": f"{type(error).__name__}: {error}"}, 0.0
        print(name, notes, flush=True)
        yield Row("tensorrt", f"{name} imports and builds", works, notes=notes)
