"""Each kind of server is asked in its own way, and its answers come to the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mlpinf_core.errors import ConfigurationError
from mlpinf_llm.faults import RequestError
from mlpinf_llm.openai.address import Address
from mlpinf_llm.openai.answer import Answer, Rules, finish
from mlpinf_llm.openai.dialects import DIALECTS, Ask
from mlpinf_llm.openai.routing import POLICIES

ASK = Ask("m", max_tokens=8, min_tokens=2, stop_ids=(2,), stream=True, want_ids=True)
RULES = Rules(cap=8, stop_ids=frozenset({2}))


def chunk(ids: list[int], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": "x" * len(ids), "token_ids": ids,
                         "finish_reason": finish}]}  # fmt: skip


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def generated(ids: list[int], count: int, reason: Any = None) -> dict[str, Any]:
    meta = {"prompt_tokens": 3, "completion_tokens": count, "finish_reason": reason}
    return {"text": "x" * len(ids), "output_ids": ids, "meta_info": meta}


def predicted(ids: list[int], count: int, **more: Any) -> dict[str, Any]:
    return {"content": "x" * len(ids), "tokens": ids, "tokens_predicted": count,
            "tokens_evaluated": 3, "stop": False} | more  # fmt: skip


STOP = {"type": "stop", "matched": 2}
STREAMS: dict[str, list[Any]] = {
    "generic": [chunk([5]), chunk([6, 7]), chunk([], "stop"), usage(3, 3), b"[DONE]"],
    "vllm": [chunk([5]), chunk([6, 7]), chunk([2], "stop"), usage(3, 4), b"[DONE]"],
    "trtllm": [chunk([5]), chunk([6, 7], "stop") | {"usage": usage(3, 3)["usage"]}, b"[DONE]"],
    "sglang": [generated([5], 1), generated([5, 6, 7], 3), generated([5, 6, 7, 2], 4, STOP),
               b"[DONE]"],
    "llama.cpp": [predicted([5], 1), predicted([6], 2), predicted([7], 3),
                  predicted([], 4, stop=True, stop_type="eos")],
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stream_comes_to_the_ids_without_the_one_that_ends_it(name: str) -> None:
    dialect = DIALECTS[name]()
    answer = Answer()
    for said in STREAMS[name]:
        dialect.event(said if isinstance(said, bytes) else json.dumps(said).encode(), answer)
    rules = Rules(8, frozenset({2}), counts_end=dialect.counts_end)
    assert finish(answer, rules, prompt_length=3).tolist() == [5, 6, 7]
    assert answer.texts


def test_sglang_may_also_stream_what_is_new_only() -> None:
    dialect, answer = DIALECTS["sglang"](), Answer()
    for said in (generated([5], 1), generated([6, 7], 3), generated([2], 4, STOP)):
        dialect.event(json.dumps(said).encode(), answer)
    assert finish(answer, RULES, 3).tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("generic", "return_token_ids", True),
        ("vllm", "return_token_ids", True),
        ("trtllm", "detokenize", False),
        ("llama.cpp", "return_tokens", True),
        ("sglang", "input_ids", [1, 2, 3]),
    ],
)
def test_ids_are_asked_for_in_each_servers_way(name: str, field: str, value: Any) -> None:
    dialect = DIALECTS[name]()
    body = dialect.request(ASK, [1, 2, 3])
    assert body[field] == value
    assert body.get("ignore_eos", body.get("sampling_params", {}).get("ignore_eos")) is not True
    longest = [v for v in (*body.values(), *body.get("sampling_params", {}).values()) if v == 8]
    assert longest  # max_tokens, by whatever name


def test_trtllm_is_sent_no_field_that_it_would_refuse() -> None:
    known = {"model", "prompt", "max_tokens", "temperature", "stream", "stream_options", "top_k",
             "min_tokens", "stop_token_ids", "ignore_eos", "detokenize"}  # fmt: skip
    assert set(DIALECTS["trtllm"]().request(ASK, [1])) <= known


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b'{"choices": 3}', b"\xff", b"null"])
@pytest.mark.parametrize("name", DIALECTS)
def test_what_is_no_answer_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        DIALECTS[name]().event(data, Answer())
    assert caught.value.failure.code == "protocol"


def test_ids_that_no_vocabulary_has_are_refused() -> None:
    answer = Answer()
    answer.add([2**40, 1], None, "stop")
    with pytest.raises(RequestError, match="no vocabulary"):
        finish(answer, RULES, 3)


def test_text_is_encoded_again_where_that_was_asked_for() -> None:
    answer = Answer()
    answer.add(None, "ab", None)
    answer.add(None, "c", "stop")
    rules = Rules(8, frozenset({2}), encode=lambda text: [ord(c) for c in text])
    found = finish(answer, rules, 3)
    assert found.tolist() == [97, 98, 99]
    assert found.dtype == np.int32


# -- where, and to whom ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host:30000", "http://host:30000"),
        ("host:30000", "http://host:30000"),
        ("https://host/v1", "https://host:443"),
        ("http://[::1]:8000/base/", "http://[::1]:8000/base"),
    ],
)
def test_a_url_is_understood(url: str, said: str) -> None:
    assert str(Address.parse(url)) == said


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:x", "http://host/?a=b"])
def test_what_is_no_servers_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not the URL"):
        Address.parse(url)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Address.parse("http://me:hush@host:1")
    assert "hush" not in str(caught.value)


class Load:
    def __init__(self, requests: int, tokens: int, *, has_room: bool = True) -> None:
        self.requests, self.tokens, self.has_room = requests, tokens, has_room


@pytest.mark.parametrize(
    ("name", "chosen"), [("round-robin", [0, 2, 0]), ("least-requests", [2] * 3),
                         ("least-tokens", [0] * 3)],
)  # fmt: skip
def test_a_policy_chooses_among_the_servers_with_room(name: str, chosen: list[int]) -> None:
    choose = POLICIES[name]()
    servers = [Load(3, 10), Load(0, 0, has_room=False), Load(2, 20)]
    assert [choose(servers) for _ in range(3)] == chosen


@pytest.mark.parametrize("name", POLICIES)
def test_no_server_is_chosen_where_none_has_room(name: str) -> None:
    assert POLICIES[name]()([Load(1, 1, has_room=False)]) is None
