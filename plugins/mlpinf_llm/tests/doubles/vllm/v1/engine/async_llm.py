import asyncio
import itertools
import types

import behaviour

from vllm import SIGNATURES, AsyncEngineArgs, SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError


class AsyncLLM:
    def __init__(self, arguments):
        self.arguments = arguments
        self.names = set()
        self.running = 0
        self.errored = False
        self.loop = None
        self.closed = False

    @classmethod
    def from_engine_args(cls, engine_args):
        assert isinstance(engine_args, AsyncEngineArgs)
        if behaviour.FAULT == "construct":
            raise RuntimeError("Engine core initialization failed. See root cause above.")
        return cls(engine_args.given)

    async def check_health(self):
        if self.errored:
            raise EngineDeadError

    async def generate(self, prompt, sampling_params, request_id, **keywords):
        assert set(keywords) <= set(SIGNATURES["generate"]["keywords"]), keywords
        assert isinstance(sampling_params, SamplingParams)
        assert type(request_id) is str
        assert request_id not in self.names, "request ids are used once"
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop(), "one loop for the engine's whole life"
        if self.errored:
            raise EngineDeadError
        self.names.add(request_id)
        count = len(self.names)
        self.running += 1
        try:
            given = sampling_params.given
            ids, finish = behaviour.answer(
                prompt["prompt_token_ids"], given["max_tokens"], given["min_tokens"],
                given["stop_token_ids"][0],
            )  # fmt: skip
            assert (
                len(prompt["prompt_token_ids"]) + given["max_tokens"]
                <= (self.arguments["max_model_len"])
            )
            await asyncio.sleep(0.001)
            if behaviour.FAULT == "dies" and count > behaviour.DIES_AFTER:
                self.errored = True
            if self.errored:
                raise EngineDeadError
            if behaviour.FAULT == "one-fails" and count == behaviour.FAILS_AT:
                raise EngineGenerateError("out of memory")
            if behaviour.FAULT == "cancelled" and count == behaviour.FAILS_AT:
                raise asyncio.CancelledError
            if behaviour.FAULT == "ended-early" and count == behaviour.FAILS_AT:
                ids, finish = ids[:2], "abort"
            for part, reason in self.parts(ids, finish, given["output_kind"]):
                yield self.output(part, reason)
                await asyncio.sleep(0)
        finally:
            self.running -= 1

    def parts(self, ids, finish, kind):
        """The first token and then every ``stream_interval``; or all at once."""
        assert kind is not RequestOutputKind.CUMULATIVE
        if kind is RequestOutputKind.FINAL_ONLY or len(ids) < 2:
            return [(ids, finish)]
        step = self.arguments["stream_interval"]
        cuts = [0, *range(1, len(ids), step), len(ids)]
        found = [(ids[a:b], None) for a, b in itertools.pairwise(cuts)]
        return [*found[:-1], (found[-1][0], finish)]

    def output(self, ids, finish):
        fields = dict.fromkeys(SIGNATURES["CompletionOutput"])
        fields |= {"token_ids": ids, "finish_reason": finish, "text": ""}
        return types.SimpleNamespace(
            outputs=[types.SimpleNamespace(**fields)], finished=finish is not None
        )

    def shutdown(self, timeout=None):
        assert self.running == 0, "requests are over before the engine is shut down"
        assert not self.closed
        self.closed = True
