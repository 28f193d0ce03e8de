"""The shape of the tiny variant's pipeline: SDXL's own module classes, with small numbers.

A pipeline folder in diffusers' layout is made of these configurations, so the weights that ship
also load in ``StableDiffusionXLPipeline``.
"""

from __future__ import annotations

from typing import Any, Final

TOKENS: Final = 24
"""Positions of a tokenised prompt."""
VOCABULARY: Final = 680

UNET: Final[dict[str, Any]] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 48, 56),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 1),
    "attention_head_dim": (2, 4, 4),
    "cross_attention_dim": 96,
    "norm_num_groups": 8,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 64,
}

VAE: Final[dict[str, Any]] = {
    "sample_size": 128,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (16, 24, 32, 48),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}


def _text(hidden: int, act: str) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": TOKENS,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 3,
        "num_attention_heads": hidden // 16,
        "projection_dim": hidden,
        "hidden_act": act,
        "bos_token_id": VOCABULARY - 2,
        "eos_token_id": VOCABULARY - 1,
        "pad_token_id": VOCABULARY - 1,
    }


CLIP1: Final = _text(32, "quick_gelu")
CLIP2: Final = _text(64, "gelu")

SCHEDULER: Final[dict[str, Any]] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
