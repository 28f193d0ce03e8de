"""Language models on vLLM with random weights: directly, and through LoadGen.

Each model has three parts, since an engine takes minutes to start: ``direct`` calls vLLM and then
the harness with the same few requests, for what the harness costs; ``offline`` and ``server`` are
runs long enough to stand beside published ones.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from gpu_parts import (
    ceilings,
    llm_direct,
    llm_plugin,
    llm_shapes,
    published,
    random_llm,
    throughout,
)
from gpu_parts.rows import Row
from mlpinf_llm.vllm.settings import VllmSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_SHARE = 0.8
LEAST_EFFICIENCY = 0.97
PUBLISHED = {"llama3.1-8b": published.LLAMA_8B, "llama2-70b": published.LLAMA_70B}
REQUESTS = {
    "llama3.1-8b": {"direct": 4096, "offline": 13_368, "server": 4096},
    "llama2-70b": {"direct": 1024, "offline": 3072, "server": 3072},
}
"""About a minute of work for ``direct`` and four for ``offline``, at the published rates."""
TOY_REQUESTS = {"direct": 96, "offline": 192, "server": 64}
LOAD = 0.9
"""Server's queries come with so much of the published tokens a second. LoadGen counts up to the end
of the last query's answer, half a minute after it came, so that a run of three minutes at 0.8 could
not have a result of 0.8."""
SERVER_SECONDS = 180.0
_DOUBLES = Path(__file__).parents[2] / "plugins/mlpinf_llm/tests/doubles"


@attrs.frozen
class Part:
    """One of a model's parts.

    Attributes:
        model: its name.
        what: ``direct``, ``offline`` or ``server``.
        toy: whether it is a toy.
        shape: the model's, and of its requests.
        folder: with its ``config.json``.
    """

    model: str
    what: str
    toy: bool
    shape: llm_shapes.Shape
    folder: Path

    @property
    def requests(self) -> int:
        """Prompts that there are; all of them are asked once, but for Server."""
        return TOY_REQUESTS[self.what] if self.toy else REQUESTS[self.model][self.what]

    @property
    def benchmark(self) -> str:
        """What the harness runs."""
        return llm_plugin.benchmark(self.model)

    def settings(self) -> list[str]:
        """Of the harness, as after ``--set``."""
        shown = [
            f"backend.{field.name}={getattr(self.shape.settings, field.name)}"
            for field in attrs.fields(VllmSettings)
            if getattr(self.shape.settings, field.name) != field.default
        ]
        return [
            *shown, f"backend.checkpoint={self.folder}", f"benchmark.prompts={self.requests}",
            f"benchmark.toy={'true' if self.toy else 'false'}",
            f"loadgen.performance_sample_count={self.requests}",
        ]  # fmt: skip

    def row(self, name: str, measured: float, scenario: str, **notes: Any) -> Row:
        """A figure in tokens a second beside the published one; a toy's stands beside none."""
        rival = None if self.toy else PUBLISHED[self.model][scenario]
        most = ceilings.measured(torch.device("cpu" if self.toy else "cuda"))
        notes |= {
            "engine": "a double that computes nothing" if self.toy else "vLLM",
            "settings": attrs.asdict(self.shape.settings), "requests": self.requests,
            "mean prompt and answer": [self.shape.prompts.mean, self.shape.answers.mean],
            "copy, TB/s": most.bytes_per_second / 1e12,
            "product, TFLOP/s": most.operations_per_second / 1e12,
        }  # fmt: skip
        return Row(
            f"{self.model}-{self.what}", f"{self.model} {name}, tokens/s", measured, rival,
            rival and LEAST_SHARE * rival, llm_shapes.floor(self.shape, most), notes,
        )  # fmt: skip

    def plain(self, name: str, measured: float, target: float) -> Row:
        """A figure that nobody has published."""
        title = f"{self.model} {name}"
        least = None if self.toy else target
        return Row(f"{self.model}-{self.what}", title, measured, None, least)


def measure(*, toy: bool, model: str, what: str) -> Iterator[Row]:
    """One of a model's parts."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # the table is on stdout
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if toy:
        _use_double()
    elif importlib.util.find_spec("vllm") is None:
        raise SystemExit(
            f"{model}-{what}: vLLM is not installed here. Install mlpinf-llm[vllm] beside the CUDA "
            "device, or use --toy"
        )
    shape = llm_shapes.shape(model, toy=toy)
    with tempfile.TemporaryDirectory() as folder:
        random_llm.write_config(shape, Path(folder))
        part = Part(model, what, toy, shape, Path(folder))
        yield from {"direct": _direct, "offline": _offline, "server": _server}[what](part)


def _use_double() -> None:
    """Put the double of vLLM in its place, here and in every process that is started."""
    sys.path.insert(0, str(_DOUBLES))
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_DOUBLES), before]))
    import vllm

    print(
        f"vLLM is a double of {vllm.VERSION}'s signatures here: no rate says anything", flush=True
    )


def _direct(part: Part) -> Iterator[Row]:
    samples = random_llm.samples(part.shape, part.requests)
    found = llm_direct.measured(part.model, part.shape, part.folder, samples)
    yield part.row("engine called directly", found.tokens_per_second, "Offline",
                   **attrs.asdict(found))  # fmt: skip
    if not part.toy:
        torch.cuda.empty_cache()  # what the ceilings took; the next engine wants the card
    rate = _through(part)
    yield part.row("the same requests through LoadGen", rate, "Offline")
    yield part.plain("harness over direct", rate / found.tokens_per_second, LEAST_EFFICIENCY)


def _offline(part: Part) -> Iterator[Row]:
    yield part.row("Offline through LoadGen", _through(part), "Offline")


def _through(part: Part) -> float:
    found = throughout.offline(
        part.benchmark, part.requests, *part.settings(), toy=part.toy,
        plugin="gpu_parts.llm_plugin",
    )  # fmt: skip
    return float(found["result_tokens_per_second"])


def _server(part: Part) -> Iterator[Row]:
    aimed = LOAD * PUBLISHED[part.model]["Server"]
    rate, seconds = aimed / part.shape.answers.mean, SERVER_SECONDS
    if part.toy:
        rate, seconds = 400.0, 2.0
    found = throughout.server(
        part.benchmark, rate, seconds, *part.settings(), plugin="gpu_parts.llm_plugin"
    )
    told = {key: value for key, value in found.items() if key.startswith("result_")}
    tokens = float(found["result_completed_tokens_per_second"])
    verdict = "VALID" if found["valid"] else "INVALID"  # which has no result, whatever its rate
    name = f"Server at {rate:.1f} queries/s, {verdict}"
    yield part.row(name, tokens, "Server", causes=found["causes"], **told)
    yield part.plain("Server, VALID", float(found["valid"]), 1.0)
