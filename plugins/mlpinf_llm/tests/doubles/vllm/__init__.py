"""A contract double of vLLM 0.20.0 and 0.26.0: its signatures, read off the released wheels."""

import json
import os
import pathlib

from contract import take

VERSION = os.environ.get("MLPINF_TEST_VLLM", "0.20.0")
_FILE = pathlib.Path(__file__).parents[2] / "data" / "vllm-signatures.json"
SIGNATURES = json.loads(_FILE.read_text(encoding="utf-8"))[VERSION]


class AsyncEngineArgs:
    def __init__(self, **given):
        self.given = take("AsyncEngineArgs", SIGNATURES["AsyncEngineArgs"], given, ("model",))


class SamplingParams:
    def __init__(self, **given):
        from vllm.sampling_params import RequestOutputKind

        self.given = take("SamplingParams", SIGNATURES["SamplingParams"], given)
        if not 0 < given.get("top_p", 1.0) <= 1:
            raise ValueError("top_p must be in (0, 1]")
        if given.get("min_tokens", 0) > given["max_tokens"]:
            raise ValueError("min_tokens must be at most max_tokens")
        assert isinstance(given.get("output_kind"), RequestOutputKind)


class TokensPrompt(dict):
    def __init__(self, *, prompt_token_ids):
        super().__init__(prompt_token_ids=prompt_token_ids)
