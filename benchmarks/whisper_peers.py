"""One contender of ``benchmarks/whisper.py``, in a process of its own. Prints one JSON object.

    python -P benchmarks/whisper_peers.py engine|"engine and features"|openai-whisper|faster-whisper

Every contender gets the samples that Offline issues, and the weights of the plugin's own engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

# After the installed packages: whisper.py of this folder is not the package of that name.
sys.path.append(str(Path(__file__).parent))

from direct_engine import issued, prepared

from mlpinf_core.machine import usable_processors
from mlpinf_whisper import alphabet, mel, wer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_whisper.ct2 import CTranslate2Backend
    from mlpinf_whisper.samples import AudioSamples

Texts = list[str]
"""What was heard, in the order of the samples."""

FASTER_BATCHES = (2, 4, 8, 16)


def float_audio(samples: AudioSamples, index: int) -> np.ndarray:
    """A clip as the peers take it: float32 between -1 and 1."""
    return samples.waveform(index).astype(np.float32) / 32768


def engine(
    backend: CTranslate2Backend, order: np.ndarray, size: int, *, features: bool
) -> tuple[Callable[[], Texts], np.ndarray]:
    """CTranslate2 on the harness's batches, as many at a time; with or without the features."""
    order = order[np.argsort(-backend.samples.lengths[order], kind="stable")]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    ready = [] if features else [backend.features(batch) for batch in batches]

    def run() -> Texts:
        with ThreadPoolExecutor(backend.replicas) as pool:
            if features:
                found = pool.map(lambda b: backend.generate(backend.features(b)), batches)
            else:
                found = pool.map(backend.generate, ready)
            answers = [answer for batch in found for answer in batch]
        return [alphabet.decode(np.asarray(r)) for r in backend.outputs(answers).data]

    return run, order


def openai(folder: Path, samples: AudioSamples, order: np.ndarray) -> Callable[[], Texts]:
    """openai-whisper's transcribe, clip by clip."""
    import torch
    import whisper
    from safetensors.torch import load_file

    model = whisper.model.Whisper(
        whisper.model.ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4)
    )
    weights = {
        openai_name(name): tensor.to(torch.float32)
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    model.load_state_dict(weights)
    model.eval()
    clips = {index: float_audio(samples, index) for index in set(order.tolist())}

    def hear(index: int) -> str:
        text: str = model.transcribe(
            clips[index],
            language="en",
            temperature=0.0,
            fp16=False,
            without_timestamps=True,
            condition_on_previous_text=False,
        )["text"]
        return text

    hear(int(order[0]))
    return lambda: [hear(int(index)) for index in order]


def openai_name(name: str) -> str:
    """OpenAI's name of a tensor, from Hugging Face's."""
    for theirs, ours in (
        ("model.", ""),
        ("layers.", "blocks."),
        ("self_attn_layer_norm", "attn_ln"),
        ("encoder_attn_layer_norm", "cross_attn_ln"),
        ("self_attn", "attn"),
        ("encoder_attn", "cross_attn"),
        ("q_proj", "query"),
        ("k_proj", "key"),
        ("v_proj", "value"),
        ("out_proj", "out"),
        ("fc1", "mlp.0"),
        ("fc2", "mlp.2"),
        ("final_layer_norm", "mlp_ln"),
        ("encoder.layer_norm", "encoder.ln_post"),
        ("decoder.layer_norm", "decoder.ln"),
        ("embed_tokens", "token_embedding"),
        ("encoder.embed_positions.weight", "encoder.positional_embedding"),
        ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    ):
        name = name.replace(theirs, ours)
    return name


def faster(folder: Path, samples: AudioSamples, order: np.ndarray) -> Callable[[], Texts]:
    """faster-whisper's batched pipeline over all clips, each in its own 30 s."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    cores = usable_processors()
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=cores)
    pipeline = BatchedInferencePipeline(model)
    audio = np.zeros((len(order), mel.N_SAMPLES), dtype=np.float32)
    for row, index in zip(audio, order.tolist(), strict=True):
        clip = float_audio(samples, index)
        row[: len(clip)] = clip
    lengths = samples.lengths[order] / mel.SAMPLE_RATE

    def hear(count: int, batch_size: int) -> Texts:
        clips = [{"start": 30.0 * n, "end": 30.0 * n + lengths[n]} for n in range(count)]
        found, _ = pipeline.transcribe(
            audio[:count].reshape(-1),
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            vad_filter=False,
            clip_timestamps=clips,
            batch_size=batch_size,
        )
        texts: Texts = [""] * count
        for segment in found:
            texts[int(segment.start // 30)] += segment.text
        return texts

    hear(min(16, len(order)), FASTER_BATCHES[0])  # the first call sets up what others find

    def seconds(batch_size: int) -> float:
        began = time.perf_counter()
        hear(min(16, len(order)), batch_size)
        return time.perf_counter() - began

    best = min(FASTER_BATCHES, key=seconds)
    return lambda: hear(len(order), best)


def main() -> None:
    """Time one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--samples", type=int, required=True)
    arguments = parser.parse_args()
    run, samples, backend = prepared("whisper")
    order = np.array(issued(run.rules.loadgen_name, len(samples), arguments.samples))
    hear: Callable[[], Texts]
    if arguments.name.startswith("engine"):
        size = run.config.sut.max_batch_size
        features = arguments.name != "engine"
        hear, order = engine(backend, order, size, features=features)
    else:
        backend.close()
        hear = peer(arguments.name, run, samples, order)
    began = time.perf_counter()
    texts = hear()
    seconds = time.perf_counter() - began
    heard = [alphabet.decode(alphabet.encode(text)) for text in texts]
    errors = wer.word_errors(heard, [samples.references[index] for index in order])
    found = {"samples_per_second": len(order) / seconds, "wer": 100 * errors.rate}
    print(json.dumps(found))


def peer(name: str, run: Any, samples: AudioSamples, order: np.ndarray) -> Callable[[], Texts]:
    """Another package."""
    from mlpinf_whisper import engines

    if name == "openai-whisper":
        return openai(engines.hugging_face_folder(run), samples, order)
    if name == "faster-whisper":
        return faster(engines.ctranslate2_folder(run), samples, order)
    raise SystemExit(f"no contender is called {name!r}")


if __name__ == "__main__":
    main()
