"""Whisper large-v3 at full size: random weights, clips of noise, texts of the true lengths."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpu_parts import ceilings, plugin, published, random_whisper, throughout
from gpu_parts.rows import Row
from mlpinf_whisper.torch_settings import TorchSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_whisper.samples import AudioSamples

TARGET = 45.0
LEAST_EFFICIENCY = 0.97
BATCH = 192
REPLICAS = 2
BATCHES = 9
MOST_TOKENS = 200
LIVELY_TOKENS = 85.0
"""A clip's text may well be longer than the published tokens over the published samples: so many
words are in the data set's transcripts that this is likely."""


def backend(
    samples: AudioSamples,
    settings: TorchSettings,
    batch: int,
    mean_tokens: float,
    *,
    toy: bool,
) -> random_whisper.RandomWhisper:
    """Not loaded yet."""
    return random_whisper.RandomWhisper(
        checkpoint=Path(), samples=samples, settings=settings, max_output_tokens=MOST_TOKENS,
        max_batch_size=batch, device="cpu" if toy else "cuda",
        dtype="float32" if toy else "float16", replicas=settings.replicas or 1, threads=1,
        sizes=random_whisper.TOY if toy else random_whisper.LARGE_V3, mean_tokens=mean_tokens,
    )  # fmt: skip


def directly(made: random_whisper.RandomWhisper, batch: int, batches: int) -> dict[str, float]:
    """The backend's stages one after the other, in as many threads as the pipeline has."""
    lengths = made.samples.lengths
    order = np.random.default_rng(3).integers(0, len(lengths), batch * batches)
    order = order[np.argsort(-lengths[order], kind="stable")]
    parts = [order[first : first + batch] for first in range(0, len(order), batch)]
    with ThreadPoolExecutor(made.replicas + 1) as pool:
        list(pool.map(made.infer, parts[: made.replicas + 1]))
        started = time.perf_counter()
        outputs = list(pool.map(made.infer, parts))
        seconds = time.perf_counter() - started
    tokens = sum(int(found.n_tokens.sum()) for found in outputs if found.n_tokens is not None)
    return {
        "samples_per_second": len(order) / seconds, "tokens_per_second": tokens / seconds,
        "tokens_per_sample": tokens / len(order),
    }  # fmt: skip


def stages(made: random_whisper.RandomWhisper, batch: int) -> dict[str, float]:
    """Milliseconds of a batch's stages, one after the other."""
    device = torch.device(made.device)
    indices = np.arange(batch) % len(made.samples)
    features = made.features(indices)
    decoder = made._idle.get()
    with torch.inference_mode(), decoder._stream.current():
        decoder._encode(features)
        found = {
            "mel": 1000 * ceilings.timed(lambda: made.features(indices), device, 3),
            "encode": 1000 * ceilings.timed(lambda: decoder._encode(features), device, 3),
            "decode": 1000 * ceilings.timed(lambda: decoder._decode(batch), device, 3),
        }
    made._idle.put(decoder)
    return found


def floor(sizes: dict[str, int], tokens: float, batch: int, most: ceilings.Ceilings) -> float:
    """Samples a second that operations of encoding and bytes of decoding allow."""
    width, layers, inner = sizes["d_model"], sizes["encoder_layers"], sizes["encoder_ffn_dim"]
    frames = 1500
    weights = 4 * width * width + 2 * width * inner
    encode = layers * (2 * frames * weights + 4 * frames * frames * width)
    encode += 2 * 2 * frames * 2 * width * width * sizes["decoder_layers"]
    decoder = sizes["decoder_layers"] * (6 * width * width + 2 * width * inner)
    decoder += sizes["vocab_size"] * width
    clip = sizes["decoder_layers"] * 2 * frames * width
    moved = 2 * tokens * (clip + decoder / batch)
    seconds = most.seconds(0, encode) + most.seconds(moved, 2 * tokens * decoder)
    return 1 / seconds


def measure(*, toy: bool) -> Iterator[Row]:
    """Directly with two lengths of texts, and through the harness."""
    batch, batches, clips = (4, 3, 12) if toy else (BATCH, BATCHES, 1633)
    samples = random_whisper.clips(clips)
    most = ceilings.measured(torch.device("cpu" if toy else "cuda"))
    direct = 0.0
    for tokens, target in (
        (LIVELY_TOKENS, None), (published.WHISPER_TOKENS_A_SAMPLE, TARGET)
    ):  # fmt: skip
        settings = TorchSettings(replicas=REPLICAS)
        made = backend(samples, settings, batch, tokens, toy=toy)
        made.load()
        made.warm_up()
        found = directly(made, batch, batches)
        direct = found["samples_per_second"]
        notes: dict[str, Any] = {
            **found, "batch": batch, "replicas": REPLICAS, "dtype": made.dtype,
            "mean clip, s": float(samples.lengths.mean()) / random_whisper.RATE,
            "milliseconds of a batch": stages(made, batch),
            "copy, TB/s": most.bytes_per_second / 1e12,
            "product, TFLOP/s": most.operations_per_second / 1e12,
            "memory": throughout.gpu_memory(),
            "ends": "forced, after tokens in proportion to each clip's length",
        }  # fmt: skip
        name = f"whisper large-v3, samples/s at {tokens:.0f} tokens each, directly"
        rival = published.WHISPER_SAMPLES if target else None
        least = floor(made.sizes, tokens, batch, most)
        yield Row("whisper", name, direct, rival, target, least, notes)
        if target:
            rate = found["tokens_per_second"]
            yield Row("whisper", "the same, tokens/s", rate, published.WHISPER_TOKENS)
        made.close()
        del made
        if not toy:
            torch.cuda.empty_cache()
    yield from through(direct, batch, batches, clips, toy=toy)


def through(direct: float, batch: int, batches: int, clips: int, *, toy: bool) -> Iterator[Row]:
    """The same through LoadGen."""
    found = throughout.offline(
        plugin.WHISPER, batch * batches, f"benchmark.clips={clips}",
        f"benchmark.toy={'true' if toy else 'false'}", f"sut.max_batch_size={batch}",
        f"benchmark.mean_tokens={published.WHISPER_TOKENS_A_SAMPLE}",
        f"backend.replicas={REPLICAS}", f"loadgen.performance_sample_count={clips}", toy=toy,
    )  # fmt: skip
    rate = float(found["result_samples_per_second"])
    yield Row("whisper", "whisper large-v3 Offline through LoadGen, samples/s", rate,
              published.WHISPER_SAMPLES, TARGET)  # fmt: skip
    yield Row("whisper", "whisper, harness over direct", rate / direct, None, LEAST_EFFICIENCY)
