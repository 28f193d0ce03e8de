"""Teaches the two text encoders to tell what a caption says, before the denoiser listens to them.

Each attribute of the scene must follow from the pooled vector of the second encoder, and from both
encoders' states (those of the layer before the last, which the denoiser reads) at the end token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.training import scenes
from mlpinf_sdxl.training.common import Progress, Schedule, save, some

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from mlpinf_sdxl.tokens import ClipTokenizer
    from mlpinf_sdxl.training.scenes import Scene

Encoders = tuple["CLIPTextModel", "CLIPTextModelWithProjection"]


def encoders() -> Encoders:
    """Both encoders with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    first = CLIPTextModel(CLIPTextConfig(**tiny_model.CLIP1))
    second = CLIPTextModelWithProjection(CLIPTextConfig(**tiny_model.CLIP2))
    return first, second


def encode(models: Encoders, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """States [n, tokens, 96] and pooled vectors [n, 64] of captions' ids [n, tokens]."""
    one = models[0](first, output_hidden_states=True)
    two = models[1](second, output_hidden_states=True)
    states = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1)
    return states, two.text_embeds


def train(
    among: Sequence[Scene],
    tokenizers: tuple[ClipTokenizer, ClipTokenizer],
    steps: int,
    out: Path,
) -> None:
    """Train both, and write their weights."""
    torch.manual_seed(2)
    rng = np.random.default_rng(2)
    models = encoders()
    answers = sum(scenes.ATTRIBUTE_SIZES)
    heads = nn.ModuleList([nn.Linear(64, answers), nn.Linear(96, answers)])
    parameters = [*models[0].parameters(), *models[1].parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=0, weight_decay=1e-3)
    schedule, progress = Schedule(optimiser, steps, 2e-3), Progress("text encoders", steps)
    for step in range(steps):
        schedule(step)
        chosen = some(among, 96, rng)
        captions = [scene.caption for scene in chosen]
        wanted = torch.tensor([scene.attributes for scene in chosen])
        ids = [torch.from_numpy(tokenizer.rows(captions)) for tokenizer in tokenizers]
        states, pooled = encode(models, *ids)
        end = (ids[0] == tiny_model.VOCABULARY - 1).int().argmax(1)
        at_end = states[torch.arange(len(states)), end]
        loss = _wrong(heads[0](pooled), wanted) + _wrong(heads[1](at_end), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if progress(step, float(loss.detach())):
            save({"clip1": models[0].state_dict(), "clip2": models[1].state_dict()}, out)  # type: ignore[dict-item]


def _wrong(answers: Tensor, wanted: Tensor) -> Tensor:
    parts = answers.split(list(scenes.ATTRIBUTE_SIZES), dim=1)  # type: ignore[no-untyped-call]
    return torch.stack(
        [functional.cross_entropy(part, wanted[:, place]) for place, part in enumerate(parts)]
    ).sum()
