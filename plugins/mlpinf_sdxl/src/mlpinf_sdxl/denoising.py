"""The denoising loop: text and the fixed latents to latents of images.

Guidance runs as one batch of [negative, positive]. Everything that a step needs lies on the device
before the loop starts, the number of the step among it, so that the loop never waits for the device
and one CUDA graph serves every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_sdxl.schedule import Schedule


@attrs.frozen(eq=False)
class Text:
    """What the encoders make of prompts.

    Attributes:
        states: [n, tokens, width], both encoders' states side by side.
        pooled: [n, width of the second encoder's projection].
    """

    states: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.states)

    def after(self, negative: Text) -> Text:
        """The batch of [negative, positive]: the negative prompt once for each prompt."""
        count = len(self)
        return Text(
            torch.cat([negative.states.expand(count, -1, -1), self.states]),
            torch.cat([negative.pooled.expand(count, -1), self.pooled]),
        )


def encode(clip1: Any, clip2: Any, first: Tensor, second: Tensor, dtype: torch.dtype) -> Text:
    """Encode prompts.

    Args:
        clip1: the first encoder.
        clip2: the second.
        first: int64 [n, tokens], ids of the first tokenizer.
        second: the same of the second.
        dtype: of what is returned.
    """
    one = clip1(input_ids=first, output_hidden_states=True)
    two = clip2(input_ids=second, output_hidden_states=True)
    states = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1)
    return Text(states.to(dtype), two.text_embeds.to(dtype))


class Denoiser:
    """The loop for batches of one size, with memory of its own."""

    def __init__(
        self,
        unet: Callable[..., Any],
        schedule: Schedule,
        latents: Tensor,
        text: Text,
        *,
        guidance: float,
        dtype: torch.dtype,
        size: int,
    ) -> None:
        """Make room.

        Args:
            unet: predicts noise.
            schedule: of the steps.
            latents: the fixed ones, float32 [1, 4, height, width], on the device.
            text: anything of the right shapes: the batch of [negative, positive].
            guidance: how far to lead away from the negative prompt.
            dtype: what the UNet computes in.
            size: width and height of an image in pixels, which the UNet is told.
        """
        device = latents.device
        self._unet = unet
        self._guidance = guidance
        self._dtype = dtype
        count = len(text) // 2
        self._text = Text(text.states.clone(), text.pooled.clone())
        self._start = (latents * schedule.start).expand(count, -1, -1, -1)
        self._start = self._start.contiguous(memory_format=torch.channels_last)
        self._latents = self._start.clone()
        edge = float(size)
        ids = torch.tensor([[edge, edge, 0.0, 0.0, edge, edge]], dtype=dtype, device=device)
        self._time_ids = ids.expand(2 * count, -1).contiguous()
        self._times, self._scales, self._deltas = (
            torch.from_numpy(numbers).to(device)
            for numbers in (schedule.times, schedule.scales, schedule.deltas)
        )
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._steps = len(schedule)
        self._graph: Any = None

    def __call__(self, text: Text) -> Tensor:
        """Denoise.

        Args:
            text: the batch of [negative, positive].

        Returns:
            float32 [n, 4, height, width]; overwritten by the next call.
        """
        self._text.states.copy_(text.states)
        self._text.pooled.copy_(text.pooled)
        self._latents.copy_(self._start)
        self._step.zero_()
        step = self.step if self._graph is None else self._graph.replay
        for _ in range(self._steps):
            step()
        return self._latents

    def step(self) -> None:
        """One step, whose number lies on the device."""
        scale, delta, when = (
            numbers.index_select(0, self._step)
            for numbers in (self._scales, self._deltas, self._times)
        )
        seen = (self._latents * scale).to(self._dtype)
        noise = self._unet(
            torch.cat([seen, seen]),
            when,
            encoder_hidden_states=self._text.states,
            added_cond_kwargs={"text_embeds": self._text.pooled, "time_ids": self._time_ids},
            return_dict=False,
        )[0]
        negative, positive = noise.float().chunk(2)
        guided = negative + self._guidance * (positive - negative)
        self._latents.addcmul_(guided, delta)
        self._step.add_(1)

    def record(self, pool: Any = None) -> Any:
        """Record the step as a CUDA graph, which every step then replays.

        Args:
            pool: memory of another graph that never runs at the same time; None takes new memory.

        Returns:
            The memory, for the next one.
        """
        stream = torch.cuda.Stream(self._latents.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose their kernels before anything is recorded
                self._step.zero_()
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        self._step.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self.step()
        self._graph = graph
        return graph.pool()


@attrs.frozen(eq=False)
class Pictures:
    """Decoded images.

    Attributes:
        pixels: uint8 [n, height, width, 3].
        broken: bool [n], whether the decoder gave anything but numbers.
        black: bool [n], whether every pixel is black.
    """

    pixels: Tensor
    broken: Tensor
    black: Tensor


def decode(vae: Any, latents: Tensor, batch: int, dtype: torch.dtype) -> Pictures:
    """Images of latents.

    Args:
        vae: the autoencoder.
        latents: float32 [n, 4, height, width]; an image has eight times that width and height.
        batch: images to decode at a time.
        dtype: what the decoder computes in.
    """
    scaled = (latents / vae.config.scaling_factor).to(dtype)
    parts = [_bytes(vae.decode(part, return_dict=False)[0]) for part in scaled.split(batch)]
    pixels, broken = (torch.cat(list(column)) for column in zip(*parts, strict=True))
    return Pictures(pixels, broken, pixels.flatten(1).amax(1) == 0)


def _bytes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Values between -1 and 1, [n, 3, h, w], as bytes [n, h, w, 3]; and which are no numbers."""
    images = images.float()
    broken = ~torch.isfinite(images).flatten(1).all(1)
    bounded = (images * 0.5 + 0.5).clamp(0, 1).nan_to_num(0.0) * 255
    return bounded.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous(), broken
