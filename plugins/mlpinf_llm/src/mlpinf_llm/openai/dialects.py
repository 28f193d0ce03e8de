"""How each kind of server is asked for token ids, and how it says them.

All of them take prompts as ids. Where the fields were read:

- vLLM 0.20, ``vllm/entrypoints/openai/completion/protocol.py``: ``POST /v1/completions`` with
  ``return_token_ids`` puts ``token_ids`` into every choice, the new ones of a chunk in a stream;
  ``stream_options.include_usage`` sends the counts in a last chunk. The id that ends an answer is
  among the ids and in the count.
- TensorRT-LLM, ``tensorrt_llm/serve/openai_protocol.py``: the same path; ``detokenize: false``
  puts ``token_ids`` into the choices. Unknown fields are refused, so only its own are sent.
- SGLang 0.5, ``sglang/srt/managers/io_struct.py`` (``GenerateReqInput``): its completions API sends
  no ids, its own ``POST /generate`` takes ``input_ids`` and answers with ``output_ids``, in a
  stream all so far (or, with ``--incremental-streaming-output``, the new ones), and counts in
  ``meta_info``.
- llama.cpp, ``tools/server/README.md``: its own ``POST /completion`` with ``return_tokens`` answers
  with ``tokens``, and counts in ``tokens_predicted`` and ``tokens_evaluated``.
- ``generic``: standard fields of the completions API, and ``return_token_ids`` as in vLLM.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import msgspec

from mlpinf_llm.faults import malformed, refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_llm.openai.answer import Answer

_DONE: Final = b"[DONE]"
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MOST_WORDS: Final = 200
"""Characters of a server's own error message that are repeated."""


@attrs.frozen
class Ask:
    """What is asked of every prompt.

    Attributes:
        model: the model's name at the server.
        max_tokens: most tokens of an answer.
        min_tokens: least tokens of an answer.
        stop_ids: ids that end an answer.
        stream: whether it is streamed.
        want_ids: whether token ids are wanted back.
    """

    model: str
    max_tokens: int
    min_tokens: int
    stop_ids: tuple[int, ...]
    stream: bool
    want_ids: bool


class Dialect(abc.ABC):
    """One kind of server."""

    path: ClassVar[str] = "/v1/completions"
    counts_end: ClassVar[bool] = False
    """Whether the id that ended an answer is counted and not sent."""
    ends_with_done: ClassVar[bool] = True
    """Whether a stream ends with an event ``[DONE]``."""

    @abc.abstractmethod
    def request(self, ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
        """The body of a request, to be sent as JSON."""

    @abc.abstractmethod
    def read(self, data: bytes, answer: Answer) -> None:
        """Take a whole response, or one event of a stream.

        Raises:
            RequestError: it is not what it should be, or says that the server failed.
        """

    def event(self, data: bytes, answer: Answer) -> None:
        """Take one event of a stream."""
        if data == _DONE:
            answer.over = True
        else:
            self.read(data, answer)


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, gc=False):
    completion_tokens: int | None = None
    prompt_tokens: int | None = None


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class _Completions(Dialect):
    """Servers whose completions API says token ids."""

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Completion).decode

    def read(self, data: bytes, answer: Answer) -> None:
        """A completion, or a chunk of one."""
        try:
            said = self._decode(data)
        except _UNREADABLE as error:
            raise malformed("the server sent what is no completion in JSON") from error
        if said.error is not None:
            raise refused(f"the server failed: {words_of(said.error)}")
        if said.usage is not None:
            answer.counted = said.usage.completion_tokens
            answer.prompt_counted = said.usage.prompt_tokens
        if said.choices is None:
            raise malformed("the server sent what is no completion in JSON")
        for choice in said.choices:
            answer.add(choice.token_ids, choice.text, choice.finish_reason)


class Vllm(_Completions):
    """``return_token_ids``."""

    def request(self, ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
        """With the rules' sampling: greedy."""
        return {
            **_standard(ask, prompt),
            "top_k": 1,
            "min_tokens": ask.min_tokens,
            "stop_token_ids": list(ask.stop_ids),
            "ignore_eos": False,
            **({"return_token_ids": True} if ask.want_ids else {}),
        }


class TrtLlm(_Completions):
    """``detokenize: false``."""

    def request(self, ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
        """With the rules' sampling: greedy."""
        return {
            **_standard(ask, prompt),
            "top_k": 1,
            "min_tokens": ask.min_tokens,
            "stop_token_ids": list(ask.stop_ids),
            "ignore_eos": False,
            **({"detokenize": False} if ask.want_ids else {}),
        }


class Generic(_Completions):
    """Standard fields, and ``return_token_ids`` where ids are wanted."""

    def request(self, ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
        """Only what every server knows, and what ids need."""
        if not ask.want_ids:
            return _standard(ask, prompt)
        more = {"return_token_ids": True, "min_tokens": ask.min_tokens}
        return {**_standard(ask, prompt), **more}


class _Meta(msgspec.Struct, gc=False):
    finish_reason: Any = None
    completion_tokens: int | None = None
    prompt_tokens: int | None = None


class _Generated(msgspec.Struct, gc=False):
    output_ids: list[int] | None = None
    text: str | None = None
    meta_info: _Meta | None = None
    error: Any = None


class SgLang(Dialect):
    """SGLang's own ``/generate``."""

    path = "/generate"

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Generated).decode

    def request(self, ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
        """With the rules' sampling: greedy."""
        sampling = {
            "max_new_tokens": ask.max_tokens,
            "min_new_tokens": ask.min_tokens,
            "temperature": 0,
            "top_k": 1,
            "stop_token_ids": list(ask.stop_ids),
            "ignore_eos": False,
        }
        name = "text" if isinstance(prompt, str) else "input_ids"
        return {name: prompt, "sampling_params": sampling, "stream": ask.stream}

    def read(self, data: bytes, answer: Answer) -> None:
        """An answer, or all of it so far, or what is new of it."""
        try:
            said = self._decode(data)
        except _UNREADABLE as error:
            raise malformed("the server sent what is no completion in JSON") from error
        if said.error is not None:
            raise refused(f"the server failed: {words_of(said.error)}")
        meta = said.meta_info
        if meta is None:
            raise malformed("the server sent what is no completion in JSON")
        reason = meta.finish_reason
        kind = reason.get("type") if isinstance(reason, dict) else reason
        new = said.output_ids or []
        text = said.text
        if len(new) == meta.completion_tokens:  # all so far
            new = new[len(answer.ids) :]
            text = text and text[sum(map(len, answer.texts)) :]
        answer.counted, answer.prompt_counted = meta.completion_tokens, meta.prompt_tokens
        answer.add(new, text, None if kind is None else str(kind))


class _Predicted(msgspec.Struct, gc=False):
    content: str | None = None
    tokens: list[int] | None = None
    stop: bool = False
    stop_type: str | None = None
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    error: Any = None


class LlamaCpp(Dialect):
    """llama.cpp's own ``/completion``."""

    path = "/completion"
    counts_end = True
    ends_with_done = False

    _ENDS: ClassVar = {"eos": "stop", "word": "stop", "limit": "length"}

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(_Predicted).decode

    def request(self, ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
        """With the rules' sampling, and no prompt remembered from an earlier request."""
        return {
            "prompt": prompt,
            "n_predict": ask.max_tokens,
            "temperature": 0,
            "top_k": 1,
            "stream": ask.stream,
            "return_tokens": ask.want_ids,
            "cache_prompt": False,
            "ignore_eos": False,
        }

    def read(self, data: bytes, answer: Answer) -> None:
        """An answer, or what is new of it."""
        try:
            said = self._decode(data)
        except _UNREADABLE as error:
            raise malformed("the server sent what is no completion in JSON") from error
        if said.error is not None:
            raise refused(f"the server failed: {words_of(said.error)}")
        if said.content is None and said.tokens is None:
            raise malformed("the server sent what is no completion in JSON")
        answer.counted = said.tokens_predicted
        answer.prompt_counted = said.tokens_evaluated
        end = self._ENDS.get(said.stop_type or "", "stop") if said.stop else None
        answer.add(said.tokens, said.content, end)


DIALECTS: Final[Mapping[str, type[Dialect]]] = {
    "generic": Generic,
    "vllm": Vllm,
    "trtllm": TrtLlm,
    "sglang": SgLang,
    "llama.cpp": LlamaCpp,
}
"""By the value of ``backend.server``."""


def _standard(ask: Ask, prompt: Sequence[int] | str) -> Mapping[str, Any]:
    """Fields of the completions API that every server knows."""
    body: dict[str, Any] = {
        "model": ask.model,
        "prompt": prompt,
        "max_tokens": ask.max_tokens,
        "temperature": 0,
        "stream": ask.stream,
    }
    if ask.stream:
        body["stream_options"] = {"include_usage": True}
    return body


def words_of(error: Any) -> str:
    """A server's own message, in one short line."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    words = " ".join(str(error).split())
    return words if len(words) <= _MOST_WORDS else words[:_MOST_WORDS] + "..."
