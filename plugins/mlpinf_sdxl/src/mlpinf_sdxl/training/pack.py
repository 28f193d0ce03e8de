"""Writes the files that ship with the package, from what the training left.

    python -m mlpinf_sdxl.training.pack --work FOLDER [--out FOLDER]

The pipeline is written in diffusers' layout with float16 weights. The reference's images are made
with those very weights, computing in float32.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlpinf_sdxl import tiny, tiny_model
from mlpinf_sdxl.training import scenes
from mlpinf_sdxl.training.__main__ import (
    tiny_tokenizers,
    trained_autoencoder,
    trained_encoders,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_LATENTS_SEED = 0
_CALIBRATION_SEED = 500
_CALIBRATION = 32


def main(arguments: Sequence[str] | None = None) -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(prog="python -m mlpinf_sdxl.training.pack")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=tiny.folder())
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    out: Path = options.out
    pipeline(options.work, out / "pipeline")
    data(out)
    scorer(options.work, out)
    reference(out)


def pipeline(work: Path, out: Path) -> None:
    """The pipeline's folder."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTokenizer

    tiny_tokenizers(out)
    state = torch.load(work / "denoiser.pt", weights_only=True)
    unet = UNet2DConditionModel(**tiny_model.UNET)
    unet.load_state_dict(state["unet"])
    vae = trained_autoencoder(work)
    vae.register_to_config(scaling_factor=state["scale"], force_upcast=False)
    encoders: Any = trained_encoders(work)
    whole = StableDiffusionXLPipeline(
        vae=vae.half(),
        text_encoder=encoders[0].half(),
        text_encoder_2=encoders[1].half(),
        tokenizer=CLIPTokenizer.from_pretrained(out / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(out / "tokenizer_2"),
        unet=unet.half(),
        scheduler=EulerDiscreteScheduler(**tiny_model.SCHEDULER),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    whole.save_pretrained(out)
    tiny_tokenizers(out)
    for name in ("tokenizer", "tokenizer_2"):  # the same once more, in transformers' own format
        (out / name / "tokenizer.json").unlink(missing_ok=True)
    count = sum(p.numel() for module in (unet, vae, *encoders) for p in module.parameters())
    log.info("%d parameters", count)


def data(out: Path) -> None:
    """The captions and the fixed latents."""
    _, held = scenes.parted()
    lines = [f"{index}\t{scene.caption}\n" for index, scene in enumerate(held)]
    (out / "captions.tsv").write_text("id\tcaption\n" + "".join(lines), "utf-8")
    calibration(out / "calibration" / "captions.tsv")
    generator = torch.Generator().manual_seed(_LATENTS_SEED)
    np.save(out / "latents.npy", torch.randn(1, 4, 16, 16, generator=generator).numpy())


def calibration(path: Path) -> None:
    """Captions to calibrate 8-bit engines with: of scenes to train on, so none of the benchmark's.

    The full variant's are of COCO's training images, too.
    """
    others, _ = scenes.parted()
    chosen = np.random.default_rng(_CALIBRATION_SEED).permutation(len(others))[:_CALIBRATION]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{index}\t{others[place].caption}\n" for index, place in enumerate(chosen)]
    path.write_text("id\tcaption\n" + "".join(lines), "utf-8")


def scorer(work: Path, out: Path) -> None:
    """The scorer's weights, in float16."""
    from safetensors.torch import save_file

    state = torch.load(work / "scorer.pt", weights_only=True)
    save_file({name: value.half() for name, value in state.items()}, out / "scorer.safetensors")


def reference(out: Path) -> None:
    """Small copies of the images that the pipeline makes in float32."""
    from mlpinf_sdxl.adherence import Judge, reduced
    from mlpinf_sdxl.training.making import images

    made = images(out)
    np.save(out / "reference.npy", np.stack([reduced(one) for one in made]).round().astype("u1"))
    _, held = scenes.parted()
    judge = Judge.load(out / "scorer.safetensors")
    shown = [judge.shows(one, scene.caption) for one, scene in zip(made, held, strict=True)]
    log.info("adherence %.1f %%", 100 * np.mean(shown))


if __name__ == "__main__":
    main()
