"""Engines as artifacts: built once for their inputs, and refused where they do not fit.

The folder of an engine holds ``engine.plan`` and ``engine.json``, which says what it is for. The
artifact store's own manifest holds every input (the source's hash, flavour and version, target,
profile, precision, flags) and the files' sizes and hashes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import BackendError, IntegrityError
from mlpinf_core.hashing import sha256_of, write_atomically
from mlpinf_core.tensorrt.build import Binding, build
from mlpinf_core.tensorrt.spec import Range

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.artifacts import ArtifactStore
    from mlpinf_core.hashing import JSON
    from mlpinf_core.tensorrt.flavour import Flavour
    from mlpinf_core.tensorrt.spec import EngineSpec

FOLDER: Final = "engines"
PLAN: Final = "engine.plan"
ABOUT: Final = "engine.json"


@attrs.frozen
class EngineFile:
    """An engine on disk.

    Attributes:
        path: of the serialised engine.
        name: of the engine.
        flavour: of the TensorRT that built it.
        version: of that.
        target: compute capability it was built for.
        precision: what its network computes in.
        bindings: its inputs and outputs.
        profile: the shapes of each input.
        sha256: of the file.
        seconds: that building took.
    """

    path: Path
    name: str
    flavour: str
    version: str
    target: str
    precision: str
    bindings: tuple[Binding, ...]
    profile: Mapping[str, Range]
    sha256: str
    seconds: float

    @classmethod
    def read(cls, folder: Path) -> EngineFile:
        """What a folder says it holds.

        Raises:
            IntegrityError: a file is missing, or is not what it should be.
        """
        path = folder / ABOUT
        try:
            about = json.loads(path.read_text("utf-8"))
            return cls(
                path=folder / PLAN,
                bindings=tuple(
                    Binding(**{**one, "shape": tuple(one["shape"])}) for one in about["bindings"]
                ),
                profile={
                    name: Range(*(tuple(shape) for shape in shapes))
                    for name, shapes in about["profile"].items()
                },
                **{key: about[key] for key in _PLAIN},
            )
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise IntegrityError(
                f"this is no engine: {problem}", where=str(path), remedy=_AGAIN
            ) from problem

    def contents(self, flavour: Flavour, target: str) -> bytes:
        """The serialised engine, if this TensorRT can run it on this GPU.

        Args:
            flavour: the TensorRT that is there.
            target: the GPU's compute capability.

        Raises:
            BackendError: it was built by another TensorRT or for another GPU.
            IntegrityError: it is cut off or changed.
        """
        where = str(self.path)
        for what, built, here in (
            ("by", f"{self.flavour} {self.version}", f"{flavour.name} {flavour.version}"),
            ("for compute capability", self.target, target),
        ):
            if built != here:
                raise BackendError(
                    f"the engine {self.name} was built {what} {built}, and here is {here}",
                    where=where,
                    remedy=_AGAIN,
                )
        try:
            found = self.path.read_bytes()
        except OSError as problem:
            raise IntegrityError(
                f"the engine {self.name} cannot be read: {problem.strerror or problem}",
                where=where,
                remedy=_AGAIN,
            ) from problem
        if sha256_of(self.path) != self.sha256:
            raise IntegrityError(
                f"the engine {self.name} is not the one that was built: it was cut off or changed, "
                f"and has {len(found)} bytes",
                where=where,
                remedy=_AGAIN,
            )
        return found


_AGAIN: Final = "build it again: mlpinf build"
_PLAIN: Final = ("name", "flavour", "version", "target", "precision", "sha256", "seconds")


def built(
    store: ArtifactStore,
    flavour: Flavour,
    spec: EngineSpec,
    source: Mapping[str, JSON],
    export: Callable[[Path], Path],
    announce: Callable[[str, int, int], None],
    *,
    target: str,
) -> EngineFile:
    """An engine: found, or built now; what has changed since the last one is announced.

    Args:
        store: of the run.
        flavour: of TensorRT.
        spec: how to build it.
        source: what the graph is made from: hashes of weights and configuration.
        export: writes the graph, and what belongs to it, into an empty folder; returns its path.
        announce: told of a sentence, and of steps done and to do (0 and 0 where there are none).
        target: compute capability that it will run on.

    Raises:
        BackendError: TensorRT refuses.
        PrerequisiteError: the scratch space is full.
    """
    inputs: dict[str, JSON] = {
        "source": dict(source),
        "flavour": flavour.name,
        "version": flavour.version,
        **{key: value for key, value in spec.inputs().items() if key != "target"},
        "target": target,
    }
    timing = store.scratch.folder(FOLDER) / f".{flavour.name}-{flavour.version}-{target}.timing"

    def make(directory: Path) -> None:
        graph = directory / "graph"
        graph.mkdir()
        announce(f"exporting {spec.name}", 0, 0)
        onnx = export(graph)
        announce(f"building {spec.name}", 0, 0)
        started = time.monotonic()
        result = build(
            flavour,
            onnx,
            spec,
            timing_cache=timing.read_bytes() if timing.exists() else b"",
            progress=lambda _, done, total: announce(f"building {spec.name}", done, total),
        )
        for file in graph.iterdir():
            file.unlink()
        graph.rmdir()
        path = directory / PLAN
        path.write_bytes(result.engine)
        about: dict[str, Any] = {
            "name": spec.name,
            "flavour": flavour.name,
            "version": flavour.version,
            "target": target,
            "precision": spec.precision,
            "profile": spec.inputs()["profile"],
            "bindings": [attrs.asdict(binding) for binding in result.bindings],
            "sha256": sha256_of(path),
            "seconds": round(time.monotonic() - started, 3),
        }
        (directory / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
        if result.timing_cache:
            write_atomically(timing, result.timing_cache)

    name = f"{spec.name}-{flavour.name}-sm{target.replace('.', '')}"
    artifact = store.build(
        FOLDER, name, inputs, make, announce=lambda sentence: announce(sentence, 0, 0)
    )
    return EngineFile.read(artifact.path)
