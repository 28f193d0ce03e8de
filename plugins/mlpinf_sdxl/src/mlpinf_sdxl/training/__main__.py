"""Trains the tiny variant's weights.

    python -m mlpinf_sdxl.training --work FOLDER [--stage NAME ...] [--threads 1]

goes through the stages that have not been finished in FOLDER: the autoencoder, the text encoders,
the scorer and the denoiser. Each writes its weights now and then, so that it can be stopped when
they are good enough. `python -m mlpinf_sdxl.training.pack` makes the shipped files of them.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import torch

from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.tokens import ClipTokenizer
from mlpinf_sdxl.training import autoencoder, denoiser, judge, scenes, text, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKL

NEGATIVE: Final = "normal quality, low quality, worst quality, low res, blurry, nsfw, nude"


@attrs.frozen
class Recipe:
    """How long each stage goes on: steps, but for the images drawn and the denoiser's batch.

    A learning rate falls over all of a stage's steps. The shipped weights were made with the
    defaults: those of the autoencoder and the text encoders after all steps, the scorer's after
    step 800 of 1500, and the denoiser's after step 3000 of 6000.
    """

    autoencoder: int = 800
    text: int = 400
    scorer: int = 1500
    images: int = 20_000
    batch: int = 32
    denoiser: int = 6000


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m mlpinf_sdxl.training")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--stage", nargs="*", choices=STAGES, default=list(STAGES))
    parser.add_argument("--threads", type=int, default=1)
    for field in attrs.fields(Recipe):
        parser.add_argument(f"--{field.name}-count", type=int, default=field.default)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(options.threads)
    recipe = Recipe(
        **{field.name: getattr(options, f"{field.name}_count") for field in attrs.fields(Recipe)}
    )
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    for name in options.stage:
        done = work / f"{name}.done"
        if not done.exists():
            train(name, recipe, work)
            done.touch()


STAGES: Final = ("autoencoder", "text", "scorer", "denoiser")


def train(stage: str, recipe: Recipe, work: Path) -> None:
    """Train one stage, from the weights of those before it."""
    among, _ = scenes.parted()
    tokenizers = tiny_tokenizers(work)
    out = work / f"{stage}.pt"
    if stage == "autoencoder":
        autoencoder.train(among, recipe.autoencoder, out)
    elif stage == "text":
        text.train(among, tokenizers, recipe.text, out)
    elif stage == "scorer":
        judge.train(among, tokenizers[0], recipe.scorer, out)
    else:
        vae, encoders = trained_autoencoder(work), trained_encoders(work)
        made = denoiser.lesson(among, recipe.images, vae, encoders, tokenizers, NEGATIVE)
        denoiser.train(made, recipe.batch, recipe.denoiser, out)


def tiny_tokenizers(work: Path) -> tuple[ClipTokenizer, ClipTokenizer]:
    """Both tokenizers, written first where they are missing."""
    for name, padding in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        words.write(work / name, padding)
    return (
        ClipTokenizer.of_folder(work / "tokenizer"),
        ClipTokenizer.of_folder(work / "tokenizer_2"),
    )


def trained_autoencoder(work: Path) -> AutoencoderKL:
    """The first stage's model."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**tiny_model.VAE).eval()
    vae.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True))
    return vae


def trained_encoders(work: Path) -> text.Encoders:
    """The second stage's models."""
    state = torch.load(work / "text.pt", weights_only=True)
    first, second = text.encoders()
    first.load_state_dict(state["clip1"])
    second.load_state_dict(state["clip2"])
    return first.train(mode=False), second.train(mode=False)


if __name__ == "__main__":
    main()
