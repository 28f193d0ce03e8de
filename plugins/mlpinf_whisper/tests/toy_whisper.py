"""A Whisper of a few thousand weights, with a vocabulary of its own, as Hugging Face has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

if TYPE_CHECKING:
    from pathlib import Path

WORDS: Final = 60
END, START, NO_TIMESTAMPS = WORDS, WORDS + 1, WORDS + 2
PROMPT: Final = (START, NO_TIMESTAMPS)
SUPPRESSED: Final = (3, 7, START, NO_TIMESTAMPS)
SUPPRESSED_FIRST: Final = (5, END)


def generation() -> dict[str, Any]:
    """What the generation configuration says."""
    return {
        "bos_token_id": END,
        "eos_token_id": END,
        "pad_token_id": END,
        "decoder_start_token_id": START,
        "no_timestamps_token_id": NO_TIMESTAMPS,
        "suppress_tokens": list(SUPPRESSED),
        "begin_suppress_tokens": list(SUPPRESSED_FIRST),
        "is_multilingual": False,
        "return_timestamps": False,
        "max_length": 40,
    }


def model(frames: int = 40, mels: int = 80, **sizes: int) -> WhisperForConditionalGeneration:
    """Random weights, so lively that each clip's text is another and ends elsewhere.

    Its products are too small to be shared between threads.
    """
    torch.set_num_threads(1)
    chosen: dict[str, Any] = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_target_positions": 40,
    }
    config = WhisperConfig(
        vocab_size=WORDS + 3,
        num_mel_bins=mels,
        max_source_positions=frames // 2,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        **(chosen | sizes),
    )
    made = WhisperForConditionalGeneration(config)
    made.train(mode=False)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weights in made.named_parameters():
            scale = 0.35 if weights.ndim > 1 else 0.1
            values = torch.randn(weights.shape, generator=random) * scale
            norm = name.endswith("layer_norm.weight")
            weights.copy_(1 + values if norm else values)
        # Ends are likely enough that texts are short, and of different lengths.
        end = made.model.decoder.embed_tokens.weight[END]
        made.model.decoder.layer_norm.bias.add_(2.25 * end / end.norm())
    settings: Any = GenerationConfig
    made.generation_config = settings(**generation())
    return made


def tokenizer() -> Tokenizer:
    """Words ``a0`` to ``a59``, and Whisper's special tokens."""
    made = Tokenizer(models.WordLevel({f"a{number}": number for number in range(WORDS)}, "a0"))
    made.add_special_tokens(
        [
            AddedToken(content, special=True)
            for content in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")
        ]
    )
    made.decoder = decoders.Fuse()
    return made


def save(folder: Path, **sizes: int) -> Path:
    """A checkpoint folder, written by the libraries themselves."""
    made = model(**sizes)
    made.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder
