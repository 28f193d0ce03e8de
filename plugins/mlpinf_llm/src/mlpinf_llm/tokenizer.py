"""The tokenizer that a GGUF file describes, and the chat layout of the tiny prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import tokenizers

from mlpinf_llm.gguf_file import GgufError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_CONTROL = 3  # ggml's token type of tokens such as <|im_start|>
_USER_DEFINED = 4
#: The turn of one user and the beginning of the answer. The model's own template also has a system
#: turn of 25 tokens, the same in every prompt: left out, since on a small machine the prompt is
#: most of a tiny sample's cost.
CHAT_TEMPLATE = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
END_OF_TURN = "<|im_end|>"


def build(metadata: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Make the tokenizer of a GGUF file's metadata.

    Supported is the byte-level BPE of SmolLM (`tokenizer.ggml.pre` = `smollm`): digits one by one,
    then GPT-2's pattern. Raises GgufError for any other, which would silently give other ids.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    family = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if family != ("gpt2", "smollm"):
        raise GgufError(
            f"the tokenizer is {family[0]!r} with pre-tokenizer {family[1]!r}; "
            "only 'gpt2' with 'smollm' can be converted"
        )
    tokens = _strings(metadata, "tokenizer.ggml.tokens")
    kinds = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise GgufError("tokenizer.ggml.token_type does not have one entry a token")
    merges = []
    for merge in _strings(metadata, "tokenizer.ggml.merges"):
        left, space, right = merge.partition(" ")
        if not space or " " in right:
            raise GgufError(f"tokenizer.ggml.merges has {merge!r}, which is not two tokens")
        merges.append((left, right))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise GgufError("tokenizer.ggml.tokens has a token twice")
    try:
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    except Exception as error:  # the Rust extension raises bare Exception
        raise GgufError(f"the vocabulary and the merges do not fit: {error}") from error
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, kinds, strict=True):
        if kind == _CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])
    return tokenizer


def special_token(metadata: Mapping[str, Any], role: str) -> str | None:
    """The token of a role (`bos`, `eos`, `unknown`, `padding`), or None where none is declared.

    Raises GgufError when its id lies outside the vocabulary.
    """
    index = metadata.get(f"tokenizer.ggml.{role}_token_id")
    if index is None:
        return None
    tokens = _strings(metadata, "tokenizer.ggml.tokens")
    if not isinstance(index, int) or not 0 <= index < len(tokens):
        raise GgufError(f"the {role} token {index!r} is outside the vocabulary")
    return tokens[index]


def _strings(metadata: Mapping[str, Any], key: str) -> list[str]:
    value = metadata.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise GgufError(f"metadata {key} is missing or not a list of strings")
    return value


@attrs.frozen(slots=True)
class ChatTokenizer:
    """Text to ids and back, for one model."""

    tokenizer: tokenizers.Tokenizer

    @classmethod
    def load(cls, path: Path) -> ChatTokenizer:
        """Load a `tokenizer.json`, or the one in an engine's directory.

        Raises ValueError naming the file when it isn't a tokenizer, and FileNotFoundError when it
        is missing.
        """
        file = path / "tokenizer.json" if path.is_dir() else path
        text = file.read_text(encoding="utf-8")
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the Rust extension raises bare Exception
            raise ValueError(f"{file} is not a tokenizer: {error}") from error

    def save(self, path: Path) -> None:
        """Write `tokenizer.json` at `path` (a file)."""
        self.tokenizer.save(str(path))

    @property
    def end_id(self) -> int:
        """Id of the token that ends an answer."""
        index: int | None = self.tokenizer.token_to_id(END_OF_TURN)
        if index is None:
            raise ValueError(f"the vocabulary has no {END_OF_TURN}")
        return index

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; special tokens written in it become their ids, and none is added."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_chat(self, prompt: str, start: str = "") -> list[int]:
        """Ids of one user turn in CHAT_TEMPLATE, followed by `start`.

        `start` is the beginning of the answer, which the model goes on from.
        """
        return self.encode(CHAT_TEMPLATE.format(prompt=prompt.strip()) + start)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The vocabulary's entries for `ids`, which is how CTranslate2 takes a prompt.

        Raises ValueError for an id outside the vocabulary.
        """
        names: list[str] = []
        for index in ids:
            name: str | None = self.tokenizer.id_to_token(int(index))
            if name is None:
                raise ValueError(f"id {int(index)} is outside the vocabulary")
            names.append(name)
        return names

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens.

        Ids outside the vocabulary are passed over, so that damaged output is scored, badly, and
        does not end the scoring.
        """
        size = self.tokenizer.get_vocab_size()
        known = [int(index) for index in ids if 0 <= int(index) < size]
        text: str = self.tokenizer.decode(known, skip_special_tokens=True)
        return text
