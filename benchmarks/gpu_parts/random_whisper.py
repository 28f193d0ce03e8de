"""The speech plugin's backend with random weights of large-v3, on clips of noise.

Random weights do not end a text, so each clip's text ends after a number of tokens that follows
from the clip's length: about :data:`TOKENS_A_SECOND` for each second, a little more or less from
clip to clip. The end token is put in place of the one that was chosen; everything else is computed
as always. Clips are as long as utterances packed into 30 s get.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import numpy as np
import torch

from mlpinf_whisper import greedy, text
from mlpinf_whisper.samples import AudioSamples
from mlpinf_whisper.torch_backend import TorchBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpinf_whisper.manifest import Manifest
    from mlpinf_whisper.torch_whisper import Decoder, Encoder

RATE: Final = 16_000
CLIPS: Final = 1633
FRAMES_A_SECOND: Final = 100
END: Final = 50_257
PROMPT: Final = (50_258, 50_259, 50_360, 50_364)
LARGE_V3: Final = {
    "vocab_size": 51_866, "num_mel_bins": 128, "d_model": 1280,
    "encoder_layers": 32, "decoder_layers": 32,
    "encoder_attention_heads": 20, "decoder_attention_heads": 20,
    "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120,
}  # fmt: skip
TOY: Final = LARGE_V3 | {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 1, "decoder_attention_heads": 1,
    "encoder_ffn_dim": 128, "decoder_ffn_dim": 128,
}  # fmt: skip


def clips(count: int = CLIPS) -> AudioSamples:
    """Noise. Utterances of 7.1 s on average are packed with 0.5 s between, up to 30 s."""
    random = np.random.default_rng(4)
    seconds: list[float] = []
    now = 0.0
    while len(seconds) < count:
        utterance = float(np.clip(random.lognormal(1.74, 0.65), 1.4, 29.5))
        if now and now + 0.5 + utterance > 30:
            seconds.append(now)
            now = 0.0
        now += utterance + (0.5 if now else 0.0)
    lengths = (np.array(seconds) * RATE).astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    audio = random.integers(-9000, 9000, int(offsets[-1]), dtype=np.int16)
    return AudioSamples(audio, offsets, cast("Manifest", None))


@attrs.define(eq=False, kw_only=True)
class RandomWhisper(TorchBackend):
    """Everything is made when it is loaded.

    Attributes:
        sizes: of the model.
        mean_tokens: that a clip's text has, its end counted.
    """

    sizes: dict[str, int]
    mean_tokens: float

    def load(self) -> None:
        """Make the model."""
        self._tokenizer = text.WhisperTokenizer(PROMPT, END, _Words())
        torch.set_num_threads(self.threads)
        self._set_up(self._tokenizer)

    def _generation(self) -> dict[str, Any]:
        return {"suppress_tokens": [1, 2, 7, 8, 9, END], "begin_suppress_tokens": [220]}

    def _load_model(self) -> Any:
        from transformers import WhisperConfig, WhisperForConditionalGeneration

        config = WhisperConfig(
            **self.sizes, max_source_positions=1500, max_target_positions=448,
            decoder_start_token_id=PROMPT[0], eos_token_id=END, pad_token_id=END, bos_token_id=END,
        )  # fmt: skip
        torch.manual_seed(0)
        torch.set_default_dtype(getattr(torch, self.dtype))
        try:
            with torch.device(self.device):
                return WhisperForConditionalGeneration(config).eval()
        finally:
            torch.set_default_dtype(torch.float32)

    def _new_decoder(
        self, encoder: Encoder, decoder: Decoder, decoding: greedy.Decoding
    ) -> greedy.GreedyDecoder:
        mean_seconds = self.samples.lengths.mean() / RATE
        return _Ending(encoder, decoder, decoding, self.mean_tokens / mean_seconds)


class _Words:
    """A tokenizer that costs something: a word for each token."""

    def decode_batch(self, ids: list[list[int]], *, skip_special_tokens: bool) -> Iterator[str]:
        del skip_special_tokens
        return (" ".join(f"a{token % 10}b" for token in part) for part in ids)


class _Ending(greedy.GreedyDecoder):
    """Ends texts after as many tokens as their clips' lengths ask for."""

    def __init__(
        self, encoder: Encoder, decoder: Decoder, decoding: greedy.Decoding, rate: float
    ) -> None:
        super().__init__(encoder, decoder, decoding)
        self._rate = rate
        ends = torch.zeros(decoding.max_batch_size, dtype=torch.int64, device=decoder.device)
        fields = {a.name: getattr(self._state, a.name) for a in attrs.fields(greedy._State)}
        self._state = _EndingState(**fields, ends=ends, prompt=len(decoding.prompt))

    def _encode(self, features: torch.Tensor) -> None:
        super()._encode(features)
        frames = _heard(features.to(self._decoder.device)) / FRAMES_A_SECOND
        tokens = frames * self._rate * (1 + 0.2 * torch.sin(frames * 100))
        most = self._decoding.max_tokens
        self._state.ends[: len(features)] = tokens.round().long().clamp(2, most)


def _heard(features: torch.Tensor) -> torch.Tensor:
    """Frames of each clip up to the last one that is not silent."""
    loud = features.amax(1) > features.amin(dim=(1, 2))[:, None] + 1e-3
    last = loud * torch.arange(1, features.shape[2] + 1, device=features.device)
    return last.amax(1).double()


@attrs.frozen(eq=False)
class _EndingState(greedy._State):
    """Of the batch, with where each text ends: int64 [rows], tokens up to the end's."""

    ends: torch.Tensor
    prompt: int

    def append(self, logits: torch.Tensor, end_token: int) -> None:
        """Choose as always, and then end the texts that have to end."""
        rows = len(logits)
        super().append(logits, end_token)
        over = self.position - self.prompt + 1 >= self.ends[:rows]
        column = self.sequences[:rows].index_select(1, self.position)
        column.masked_fill_(over[:, None], end_token)
        self.sequences[:rows].index_copy_(1, self.position, column)
        self.finished[:rows].logical_or_(over)

    def compact(self, active: Any, rows: int) -> Any:
        """Swap rows, and their ends with them."""
        came_from = super().compact(active, rows)
        self.ends.copy_(self.ends[torch.from_numpy(came_from).to(self.ends.device)])
        return came_from
