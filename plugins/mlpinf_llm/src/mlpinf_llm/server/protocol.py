"""Requests and responses of the completions API, as far as the small server speaks it."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_llm.server.engine import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_numbers: Final = itertools.count(1)
_NOT_OFFERED: Final = ("ignore_eos", "stop", "echo", "logprobs", "suffix")


class BadRequestError(Exception):
    """A request that cannot be answered; the text tells the client why."""


@attrs.frozen
class Asked:
    """A request that can be answered.

    Attributes:
        prompt: token ids.
        max_tokens: most tokens of the answer.
        min_tokens: least tokens of the answer.
        stream: whether it is sent as it comes.
        with_usage: whether a stream ends with the token counts.
        with_ids: whether token ids are sent.
        model: the name in the answer.
        number: of the answer.
    """

    prompt: list[int]
    max_tokens: int
    min_tokens: int
    stream: bool
    with_usage: bool
    with_ids: bool
    model: str
    number: str

    def body(self, choice: Mapping[str, Any] | None, usage: Mapping[str, int] | None) -> bytes:
        """A response, or one event of a stream."""
        said: dict[str, Any] = {
            "id": self.number,
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [] if choice is None else [choice],
        }
        if usage is not None:
            said["usage"] = usage
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()

    def choice(self, ids: Sequence[int], text: str, reason: str | None) -> dict[str, Any]:
        """An answer, or a part of it."""
        found: dict[str, Any] = {
            "index": 0,
            "text": text,
            "logprobs": None,
            "finish_reason": reason,
        }
        if self.with_ids:
            found["token_ids"] = list(ids)
        return found

    def reason(self, count: int) -> str:
        """Why an answer of so many tokens ended."""
        return "length" if count >= self.max_tokens else "stop"

    def usage(self, count: int) -> dict[str, int]:
        """Token counts of an answer of so many tokens."""
        asked = len(self.prompt)
        return {
            "prompt_tokens": asked,
            "completion_tokens": count,
            "total_tokens": asked + count,
        }


def read_request(body: bytes, *, model: str, encode: Any, end: int) -> Asked:
    """Understand a request.

    Args:
        body: JSON.
        model: the one that is served.
        encode: text to token ids.
        end: the id that ends an answer.

    Raises:
        BadRequestError: it is not one, or asks for what is not offered.
    """
    try:
        given = json.loads(body)
    except ValueError as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadRequestError("the body is not an object")
    if given.get("model", model) != model:
        raise BadRequestError(f"the model {given['model']!r} does not exist")
    if given.get("temperature", 0) != 0 and given.get("top_k") != 1:
        raise BadRequestError("only greedy decoding is offered: set temperature to 0")
    if given.get("n", 1) != 1:
        raise BadRequestError("one answer a prompt is offered")
    for name in _NOT_OFFERED:
        if given.get(name):
            raise BadRequestError(f"{name} is not offered")
    if given.get("stop_token_ids") not in (None, [], [end]):
        raise BadRequestError(f"an answer ends at the id {end}, and no other is offered")
    options = given.get("stream_options") or {}
    most = _count(given, "max_tokens", 16)
    return Asked(
        prompt=_prompt(given.get("prompt"), encode),
        max_tokens=most,
        min_tokens=min(_count(given, "min_tokens", 0), most),
        stream=bool(given.get("stream")),
        with_usage=isinstance(options, dict) and bool(options.get("include_usage")),
        with_ids=bool(given.get("return_token_ids")),
        model=model,
        number=f"cmpl-{next(_numbers)}",
    )


def _count(given: Mapping[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_TOKENS:
        raise BadRequestError(f"{name} is not an integer from 0 to {MOST_TOKENS}")
    return value


def _prompt(given: Any, encode: Any) -> list[int]:
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], list | str):
        given = given[0]
    if isinstance(given, str):
        given = encode(given)
    if not isinstance(given, list) or not given or not all(type(item) is int for item in given):
        raise BadRequestError("the prompt is neither text nor a list of token ids")
    return given


def error_body(message: str, kind: str, status: int) -> bytes:
    """An error, as the API writes it."""
    return json.dumps({"error": {"message": message, "type": kind, "code": status}}).encode()
