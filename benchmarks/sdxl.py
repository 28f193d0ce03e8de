"""The text to image plugin's speed: the harness beside its own pipeline, that beside diffusers'.

    python benchmarks/sdxl.py [--repeats 5] [--samples 128] [--json FILE]

All of it is the tiny variant in float32, 20 steps, guidance 8. "Bare" of the first figure is the
backend called directly on the batches that the harness makes, as many at a time. The peer is
``StableDiffusionXLPipeline.__call__`` with the same weights, prompts and batch size, on one thread
and on one a core; the faster of the two counts. Every pair is measured alternately, and a ratio is
that of the medians. Peak memory is the whole process's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from figures import Figure, json_of, median, pairs, print_head, print_row
from harness import ours

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 8
HERE = Path(__file__).parent


def process(what: str, *more: object) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    return json_of([sys.executable, str(HERE / "sdxl.py"), "--one", what, *map(str, more)])


def offline(repeats: int, samples: int) -> Iterator[Figure]:
    """The harness against the same pipeline, called directly on the same batches."""
    mine, theirs = pairs(
        repeats,
        lambda: ours(
            "stable-diffusion-xl",
            "Offline",
            "loadgen.min_duration=0",
            "loadgen.target_qps=0.000001",
            f"loadgen.min_query_count={samples}",
            f"sut.max_batch_size={BATCH}",
            variant="tiny",
        ),
        lambda: process("direct", samples),
    )
    if not all(run["valid"] for run in mine):
        raise SystemExit(f"a run is INVALID: {mine[0]['causes']}")
    a, b = median(mine, "result_samples_per_second"), median(theirs, "samples_per_second")
    yield Figure("Offline, samples/s", f"{a:.2f}", f"{b:.2f}", a / b, "≥ 0.97", a / b >= 0.97)


def peer(repeats: int, samples: int) -> Iterator[Figure]:
    """The backend against diffusers' pipeline."""
    alone, whole = (process("peer", BATCH * 2, n) for n in (1, os.cpu_count() or 1))
    threads = max((alone, whole), key=lambda run: run["samples_per_second"])["threads"]
    mine, theirs = pairs(
        repeats,
        lambda: process("direct", samples),
        lambda: process("peer", samples, threads),
    )
    a, b = median(mine, "samples_per_second"), median(theirs, "samples_per_second")
    name = "beside StableDiffusionXLPipeline, samples/s"
    yield Figure(name, f"{a:.2f}", f"{b:.2f}", a / b, "≥ 1.25", a / b >= 1.25)
    a, b = median(mine, "peak_memory_mib"), median(theirs, "peak_memory_mib")
    name = "their peak memory, MiB"
    yield Figure(name, f"{a:.0f}", f"{b:.0f}", a / b, "≤ 1", a / b <= 1)


# -- one measurement each ------------------------------------------------------------------------


def direct(samples: int) -> dict[str, Any]:
    """The backend, as many batches at a time as the harness has."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from direct_engine import prepared

    _, data, backend = prepared("stable-diffusion-xl", f"sut.max_batch_size={BATCH}")
    order = np.arange(samples) % len(data)
    batches = [order[start : start + BATCH] for start in range(0, samples, BATCH)]
    with ThreadPoolExecutor(backend.replicas) as pool:
        started = time.perf_counter()
        list(pool.map(backend.infer, batches))
        seconds = time.perf_counter() - started
    backend.close()
    return {"samples_per_second": samples / seconds}


def diffusers(samples: int, threads: int) -> dict[str, Any]:
    """The library's own pipeline, batch after batch."""
    import warnings

    warnings.simplefilter("ignore")
    import numpy as np
    import torch
    from diffusers import StableDiffusionXLPipeline

    from mlpinf_sdxl import captions, tiny
    from mlpinf_sdxl.benchmarks import NEGATIVE_PROMPT

    torch.set_num_threads(threads)
    texts = captions.read(tiny.folder() / "captions.tsv")
    latents = torch.from_numpy(np.load(tiny.folder() / "latents.npy"))
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tiny.pipeline(), torch_dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)

    def batch(start: int) -> None:
        prompts = [texts[(start + index) % len(texts)] for index in range(BATCH)]
        pipeline(
            prompt=prompts,
            negative_prompt=[NEGATIVE_PROMPT] * BATCH,
            guidance_scale=8.0,
            num_inference_steps=20,
            latents=latents.repeat(BATCH, 1, 1, 1),
            height=128,
            width=128,
            output_type="np",
        )

    batch(0)  # to warm up
    started = time.perf_counter()
    for start in range(0, samples, BATCH):
        batch(start)
    seconds = time.perf_counter() - started
    return {"samples_per_second": samples / seconds, "threads": threads}


def one(what: str, more: list[int]) -> None:
    """Measure, and print as JSON."""
    found = direct(*more) if what == "direct" else diffusers(*more)
    found["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--samples", type=int, default=128, help="a multiple of the batch of 8, 64 at least"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs="+")
    options = parser.parse_args()
    if options.one:
        one(options.one[0], [int(number) for number in options.one[1:]])
        return
    print_head(options.repeats)
    figures = []
    for part in (offline, peer):
        for figure in part(options.repeats, options.samples):
            print_row(figure)
            figures.append(attrs.asdict(figure))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
