"""A GGUF file of a llama model small enough to compute by hand, and its forward pass in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pathlib import Path

LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS = 2, 32, 64, 4, 2
HEAD = WIDTH // HEADS
BASE, EPSILON = 10_000.0, 1e-5
TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    *(chr(code) for code in range(33, 127)), "Ġ", "Ċ", "ab",
]  # fmt: skip
Weights = dict[str, npt.NDArray[np.float32]]


def weights(seed: int = 0) -> Weights:
    """Random weights by GGUF's names, in the original checkpoints' layout of the rotary halves."""
    random = np.random.default_rng(seed)
    kv = KV_HEADS * HEAD
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(TOKENS), WIDTH)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_q.weight": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k.weight": (kv, WIDTH),
            f"blk.{layer}.attn_v.weight": (kv, WIDTH),
            f"blk.{layer}.attn_output.weight": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_gate.weight": (HIDDEN, WIDTH),
            f"blk.{layer}.ffn_up.weight": (HIDDEN, WIDTH),
            f"blk.{layer}.ffn_down.weight": (WIDTH, HIDDEN),
        }
    made = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    norms = ["output_norm.weight"]
    for layer in range(LAYERS):
        norms += [f"blk.{layer}.attn_norm.weight", f"blk.{layer}.ffn_norm.weight"]
    return made | {name: random.uniform(0.5, 1.5, WIDTH).astype(np.float32) for name in norms}


def _interleave(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """The order of rows in which llama.cpp's converter writes queries and keys."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def write(path: Path, given: Weights, architecture: str = "llama", **changes: object) -> Path:
    """Write the model with the gguf package's own writer; `changes` override metadata."""
    writer = gguf.GGUFWriter(path, architecture)
    sizes = {
        "block_count": LAYERS,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "head_count": HEADS,
        "head_count_kv": KV_HEADS,
        "pre": "smollm",
    } | changes
    writer.add_block_count(sizes["block_count"])
    writer.add_embedding_length(sizes["embedding_length"])
    writer.add_feed_forward_length(sizes["feed_forward_length"])
    writer.add_head_count(sizes["head_count"])
    writer.add_head_count_kv(sizes["head_count_kv"])
    writer.add_rope_freq_base(BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    if "rope_scaling" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType(changes["rope_scaling"]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(str(sizes["pre"]))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, *([1] * (len(TOKENS) - 3))])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, weight in given.items():
        heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name.split(".")[-2])
        fits = heads and weight.ndim == 2 and weight.shape[0] % (2 * heads) == 0
        writer.add_tensor(name, _interleave(weight, heads) if fits else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _norm(x: npt.NDArray[np.float64], gamma: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    scale = np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
    return x / scale * gamma


def _rotate(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotary embedding of [positions, heads, HEAD], the halves one after the other."""
    angle = np.arange(len(x))[:, None] * BASE ** (-np.arange(0, HEAD, 2) / HEAD)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def logits(given: Weights, ids: list[int]) -> npt.NDArray[np.float64]:
    """Logits [positions, vocabulary] of the model, straight from the definition."""
    x = given["token_embd.weight"][ids].astype(np.float64)
    count = len(ids)
    mask = np.triu(np.full((count, count), -np.inf), 1)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        h = _norm(x, given[block + "attn_norm.weight"])
        q = _rotate((h @ given[block + "attn_q.weight"].T).reshape(count, HEADS, HEAD))
        k = _rotate((h @ given[block + "attn_k.weight"].T).reshape(count, KV_HEADS, HEAD))
        v = (h @ given[block + "attn_v.weight"].T).reshape(count, KV_HEADS, HEAD)
        k, v = (np.repeat(each, HEADS // KV_HEADS, axis=1) for each in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(HEAD) + mask
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", shares, v).reshape(count, WIDTH)
        x = x + mixed @ given[block + "attn_output.weight"].T
        h = _norm(x, given[block + "ffn_norm.weight"])
        gate = h @ given[block + "ffn_gate.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (h @ given[block + "ffn_up.weight"].T)
        x = x + inner @ given[block + "ffn_down.weight"].T
    return _norm(x, given["output_norm.weight"]) @ given["token_embd.weight"].T
