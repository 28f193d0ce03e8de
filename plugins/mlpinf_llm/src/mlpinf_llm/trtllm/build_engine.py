"""Builds a TensorRT engine: ``python -m mlpinf_llm.trtllm.build_engine JOB OUT``."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Read the job, and write the engine."""
    paper, directory = map(Path, arguments)
    job = json.loads(paper.read_text(encoding="utf-8"))
    from tensorrt_llm._tensorrt_engine import LLM
    from tensorrt_llm.llmapi import BuildConfig

    llm = LLM(
        model=job["checkpoint"],
        skip_tokenizer_init=True,
        build_config=BuildConfig(**job["build"]),
        **job["llm"],
    )
    try:
        llm.save(str(directory))
    finally:
        llm.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
