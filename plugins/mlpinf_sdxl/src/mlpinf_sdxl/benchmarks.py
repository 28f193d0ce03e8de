"""The text to image benchmark: its name, its settings, and what its variants need."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

import attrs

from mlpinf_core.benchmark import BackendInfo, Benchmark, FolderSource, Source, VariantSpec
from mlpinf_core.config.schema import setting
from mlpinf_core.rules.model import Limit
from mlpinf_core.vocabulary import Scenario, Variant
from mlpinf_sdxl.tensorrt_settings import TensorRtSettings
from mlpinf_sdxl.tiny import SAMPLES
from mlpinf_sdxl.torch_settings import TorchSettings

NAME: Final = "stable-diffusion-xl"
TORCH: Final = "torch"
TENSORRT: Final = "tensorrt"

NEGATIVE_PROMPT: Final = "normal quality, low quality, worst quality, low res, blurry, nsfw, nude"
"""The reference's, one for every sample."""

_OFFICIAL: Final = (
    "https://raw.githubusercontent.com/mlcommons/inference/"
    "b66003e10e2db4b8c36a448b0545ec90fcc6e9e9/text_to_image"
)
CAPTIONS: Final = Source(
    name="captions_source.tsv",
    kind="data",
    size=862_324,
    sha256="2eeb95637b30fe5af26dd644bafa7affe4e5472ad0bda32d0feb1bd261280d5e",
    licence="CC-BY-4.0",
    url=f"{_OFFICIAL}/coco2014/captions/captions_source.tsv",
    unless=("benchmark.data_path", "benchmark.random_weights"),
)
"""5000 captions of COCO 2014's validation images, in the official order."""

CAPTIONS_DIGEST: Final = "7a70c1a8351e5b07f8bd4050e0995ad7fe3a59e8246c5ea1ed822876ba9c9a02"
"""Sha256 of those captions, a line each and none after the last; whatever else a file tells of
them."""

CALIBRATION_IDS_DIGEST: Final = "d712f9bb13e11a16b438dd6283a8dbf860733ca6262792a1f4f05a0300983cb8"
"""Sha256 of the 500 ids of the calibration captions, ascending, a line each and none after the
last: the reference's list of them, coco_cal_captions_list.txt."""
CALIBRATION_CAPTIONS: Final = 500

LATENTS: Final = Source(
    name="latents.npy",
    kind="data",
    size=262_272,
    sha256="78cac10a20ea287f88b5851382e21504a755338d3f8ba8ffd2bcf9e9bf2404f9",
    licence="Apache-2.0",
    url=f"{_OFFICIAL}/tools/latents.npy",
    setting="benchmark.latents_path",
    unless="benchmark.random_weights",
)
"""What every image starts from."""

SDXL: Final = FolderSource(
    name="stable-diffusion-xl-base-1.0",
    kind="models",
    size=13_900_000_000,
    licence="CreativeML Open RAIL++-M",
    repository="stabilityai/stable-diffusion-xl-base-1.0",
    revision="462165984030d82259a11f4367a4eed129e94a7b",
    requires=("model_index.json", "unet/config.json", "vae/config.json"),
    patterns=(
        "model_index.json",
        "*/*.json",
        "*/merges.txt",
        "*/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ),
    setting="benchmark.model_path",
    unless="benchmark.random_weights",
)
"""The rules' model in float32, as the hub has it."""

_SERVER_MS: Final = 20_000
"""The rules' latency limit."""
_P90_QUERIES: Final = 70
"""Early stopping wants 64 queries at p90 when none is over the limit; some to spare."""


@attrs.frozen
class SdxlSettings:
    """Settings of the benchmark, the table ``[benchmark]``."""

    steps: int = setting(
        20,
        "Denoising steps; 20 as in the reference.",
        validator=attrs.validators.ge(1),
    )
    guidance: float = setting(
        8.0,
        "How far to lead away from the negative prompt; 8 as in the reference.",
        validator=attrs.validators.ge(1),
    )
    random_weights: int | None = setting(
        None,
        "Seed of random weights, prompts and latents for the full model, in place of any file; it "
        "computes as fast and its images show nothing, so such a run is for measuring only.",
    )
    data_path: Path | None = setting(
        None, "Folder of captions.tsv, instead of fetching it; full variant only."
    )
    model_path: Path | None = setting(
        None, "Folder of the pipeline in diffusers' layout, instead of fetching it."
    )
    latents_path: Path | None = setting(
        None, "The reference's latents.npy, instead of fetching it; full variant only."
    )
    calibration_path: Path | None = setting(
        None,
        "The reference's calibration captions, for 8-bit engines: the file captions.tsv, or the "
        "folder that it is in; unset looks for calibration/captions.tsv in data_path and beside "
        "it. Full variant only.",
    )
    scoring_path: Path | None = setting(
        None,
        "Folder of what FID and CLIP score need: val2014.npz, the weights "
        "pt_inception-2015-12-05-6726825d.pth and ViT-B-32.pt; full variant only.",
    )


def _tiny() -> VariantSpec:
    p90 = {"target_latency_percentile": 90, "min_query_count": _P90_QUERIES}
    return VariantSpec(
        summary=f"a pipeline of 1.9 M parameters, {SAMPLES} captions of drawn scenes, images of "
        "128 x 128",
        backend=TORCH,
        defaults={
            "loadgen": {"min_duration": 10, "performance_sample_count": SAMPLES},
            "run": {"hang_timeout": 120},
            "sut": {"max_batch_size": 8, "max_wait_ms": 5},
        },
        scenario_defaults={
            Scenario.OFFLINE: {"loadgen": {"min_query_count": SAMPLES}},
            # Eight samples a query would take minutes.
            Scenario.MULTI_STREAM: {"loadgen": {**p90, "samples_per_query": 2}},
            Scenario.SERVER: {
                "loadgen": {**p90, "target_latency_ms": _SERVER_MS},
                "run": {"server_load": 0.4},
                "sut": {"max_batch_size": 4},
            },
        },
        accuracy={
            "99": {
                "ADHERENCE": Limit(lower=TINY_ADHERENCE[0], upper=TINY_ADHERENCE[1]),
                "DRIFT": Limit(lower=0.0, upper=TINY_DRIFT),
                "WORST_DRIFT": Limit(lower=0.0, upper=TINY_WORST_DRIFT),
            }
        },
        measurements={
            "input_data_types": "int32",
            "retraining": "Yes: a small pipeline of its own, trained on drawn scenes",
            "starting_weights_filename": "the plugin's own tiny weights",
            "weight_data_types": "fp16",
            "weight_transformations": "converted when loaded to what is computed in, fp32 on a CPU",
        },
    )


TINY_ADHERENCE: Final = (87.0, 97.0)
"""Band of the tiny variant's prompt adherence, in per cent: the reference reaches 92.1875, and so
does bfloat16."""
TINY_DRIFT: Final = 1.0
"""How far its images may be from the reference's, in 255ths of the brightness: 0.13 in float32 (the
reference's copies are rounded), 0.47 in bfloat16, 1.85 with half of the steps."""
TINY_WORST_DRIFT: Final = 1.5
"""The same of the worst image: 0.23 in float32, 0.53 with a decoder in int8, 0.74 in bfloat16; an
image in the place of another is 2.39 away at least."""


def _full() -> VariantSpec:
    return VariantSpec(
        summary="Stable Diffusion XL base 1.0 on 5000 captions of COCO 2014, images of 1024 x 1024",
        backend=TORCH,
        sources=(CAPTIONS, LATENTS, SDXL),
        defaults={
            "sut": {"max_batch_size": 8, "max_wait_ms": 50},
            "run": {"hang_timeout": 3600},
        },
        scenario_defaults={Scenario.SERVER: {"sut": {"max_batch_size": 4}}},
    )


@functools.cache
def benchmark() -> Benchmark:
    """The benchmark ``stable-diffusion-xl``."""
    return Benchmark(
        name=NAME,
        summary="text to image, Stable Diffusion XL on COCO captions",
        variants={Variant.FULL: _full(), Variant.TINY: _tiny()},
        scenarios=(
            Scenario.OFFLINE,
            Scenario.SERVER,
            Scenario.SINGLE_STREAM,
            Scenario.MULTI_STREAM,
        ),
        settings=SdxlSettings,
        aliases=("sdxl",),
        response_dtype="uint8",
    )


def all_backends() -> list[BackendInfo]:
    """PyTorch and TensorRT."""
    return [
        BackendInfo(
            name=TORCH,
            benchmarks=(NAME,),
            summary="PyTorch with diffusers' modules, on a CPU or a CUDA device",
            settings=TorchSettings,
            requires={"torch": "torch", "diffusers": "diffusers", "transformers": "transformers"},
        ),
        BackendInfo(
            name=TENSORRT,
            benchmarks=(NAME,),
            summary="TensorRT's engines in the same loop, on a CUDA device",
            settings=TensorRtSettings,
            requires={
                "cuda": "mlpinf-sdxl[tensorrt]",
                "onnx": "mlpinf-sdxl[tensorrt]",
                "onnxruntime": "mlpinf-sdxl[tensorrt]",
                "onnxscript": "mlpinf-sdxl[tensorrt]",
            },
        ),
    ]
