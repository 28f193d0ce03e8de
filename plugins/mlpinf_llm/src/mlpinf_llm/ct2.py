"""The ``ctranslate2`` backend: one engine in process, batches of prompts, greedy decoding."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import BackendError, ConfigurationError, IntegrityError
from mlpinf_core.machine import usable_processors
from mlpinf_core.protocols import Outputs
from mlpinf_core.vocabulary import Variant
from mlpinf_llm.samples import TokenSamples

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from mlpinf_core.context import Run
    from mlpinf_core.suts.streaming import Stream
    from mlpinf_llm.benchmarks import CTranslate2Settings, LlmSettings

log = logging.getLogger(__name__)

_WARM_UP: Final = 4
"""Prompts in the warm-up batch; it is run twice."""
_CONVERTER: Final = 1
"""Rises when the conversion makes other engines of the same model."""


def build(run: Run) -> Path:
    """Convert the model once; returns the engine's directory.

    Raises:
        PrerequisiteError: the model is not to be had.
        BackendError: it cannot be converted.
    """
    import ctranslate2

    from mlpinf_llm.benchmarks import MODEL, CTranslate2Settings

    own = isinstance(run.config.backend, CTranslate2Settings)
    # Another backend needs the tokenizer, or its server the engine.
    settings: CTranslate2Settings = run.config.backend if own else CTranslate2Settings()
    inputs: dict[str, Any] = {
        "model": MODEL.sha256,
        "quantization": settings.quantization,
        "ctranslate2": ctranslate2.__version__,
        "converter": _CONVERTER,
    }
    name = f"smollm2-135m-{settings.quantization}-ctranslate2"
    found = run.store.find("engines", name, inputs)
    # A model that the user names is checked even when it is not needed any more.
    if found is not None and run.config.benchmark.model_path is None:
        return found.path
    model = run.fetch(MODEL)

    def make(directory: Path) -> None:
        from mlpinf_llm.gguf_engine import convert
        from mlpinf_llm.gguf_file import GgufError

        run.events.step(f"converting {model.name} to {settings.quantization}")
        try:
            convert(model, directory, settings.quantization)
        except GgufError as error:
            raise IntegrityError(str(error), where=str(model)) from error

    return run.store.build("engines", name, inputs, make, announce=run.events.step).path


def make(run: Run, samples: TokenSamples) -> CTranslate2Backend:
    """The backend of a run, its engine built.

    A static batch leaves a core idle now and then, so two batches on a core each are faster than
    one on two (measured: twice the tokens/s). Where there is one query at a time, there is one
    batch, and all cores work on it.
    """
    if run.workload.variant is not Variant.TINY:
        raise ConfigurationError(
            "the ctranslate2 backend has the tiny variants' model only",
            where="run.backend",
            remedy="run a full variant on servers (--backend openai), or choose --variant tiny",
        )
    settings: CTranslate2Settings = run.config.backend
    benchmark: LlmSettings = run.config.benchmark
    cores = usable_processors()
    stream = run.workload.scenario.is_stream
    replicas = settings.replicas or _replicas(settings, stream=stream, cores=cores)
    return CTranslate2Backend(
        engine=build(run),
        samples=samples,
        min_output_tokens=benchmark.min_output_tokens,
        max_output_tokens=benchmark.max_output_tokens,
        device=settings.device,
        replicas=replicas,
        threads=settings.threads or max(1, cores // replicas),
    )


def _replicas(settings: CTranslate2Settings, *, stream: bool, cores: int) -> int:
    """How many batches at the same time, where the user leaves it to us."""
    if stream or settings.device == "cuda":
        return 1
    if settings.device == "auto":
        import ctranslate2

        return 1 if ctranslate2.get_cuda_device_count() else cores
    return cores


@attrs.define(eq=False)
class CTranslate2Backend:
    """An engine and the prompts it answers. Thread-safe: ``replicas`` batches at the same time.

    Sampling is the rules' (top-k 1, so greedy); an answer ends at the model's end-of-turn token,
    which is not part of it, or at ``max_output_tokens``.
    """

    engine: Path
    samples: TokenSamples
    min_output_tokens: int
    max_output_tokens: int
    device: str
    replicas: int
    threads: int
    _generator: Any = None
    _prompts: list[list[str]] = attrs.field(factory=list)

    def load(self) -> None:
        """Load the engine, and turn the prompts into what CTranslate2 takes: vocabulary entries."""
        import ctranslate2

        from mlpinf_llm.tokenizer import ChatTokenizer

        tokenizer = ChatTokenizer.load(self.engine)
        self._prompts = [
            tokenizer.tokens(self.samples.prompt(index)) for index in range(len(self.samples))
        ]
        try:
            self._generator = ctranslate2.Generator(
                str(self.engine),
                device=self.device,
                compute_type="default",
                inter_threads=self.replicas,
                intra_threads=self.threads,
            )
        except (RuntimeError, ValueError) as error:
            raise BackendError(
                f"CTranslate2 cannot load the engine: {error}", where=str(self.engine)
            ) from error

    def warm_up(self) -> None:
        """A small batch, twice on every replica."""
        indices = np.arange(min(_WARM_UP, len(self.samples)))
        with ThreadPoolExecutor(self.replicas) as pool:
            list(pool.map(lambda _: self.generate(indices), range(2 * self.replicas)))

    def close(self) -> None:
        """Free the engine."""
        self._generator = None

    def generate(
        self, indices: npt.NDArray[np.int64], on_first: Callable[[int, int], None] | None = None
    ) -> list[npt.NDArray[np.int32]]:
        """Answer prompts.

        Args:
            indices: int64 [n], prompts.
            on_first: called with a position in the batch and its first token when that exists; None
                where nobody asks.

        Returns:
            n arrays of token ids, int32, each at most ``max_output_tokens`` long.
        """
        results = self._generator.generate_batch(
            [self._prompts[index] for index in indices],
            min_length=self.min_output_tokens,
            max_length=self.max_output_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=None if on_first is None else _first_tokens(on_first),
        )
        return [np.array(result.sequences_ids[0], dtype=np.int32) for result in results]

    def answer(self, stream: Stream) -> Outputs:
        """Answer a batch, and report its first tokens as they come."""
        return outputs_of(self.generate(stream.indices, stream.first_token))

    def infer(self, indices: npt.NDArray[np.int64]) -> Outputs:
        """Answer a batch."""
        return outputs_of(self.generate(indices))


def _first_tokens(on_first: Callable[[int, int], None]) -> Callable[[Any], bool]:
    """A CTranslate2 callback that reports each prompt's first token.

    CTranslate2 counts steps from the end of the batch's shortest prompt, and calls for generated
    tokens only: a longer prompt's first token comes at a later step than 0.
    """
    begun: set[int] = set()

    def callback(step: Any) -> bool:
        if step.batch_id not in begun:
            begun.add(step.batch_id)
            on_first(step.batch_id, step.token_id)
        return False  # do not stop

    return callback


def outputs_of(answers: list[npt.NDArray[np.int32]]) -> Outputs:
    """Token ids as responses: the bytes are the ids, the count is their number."""
    return Outputs(answers, np.array([len(answer) for answer in answers], dtype=np.int64))
