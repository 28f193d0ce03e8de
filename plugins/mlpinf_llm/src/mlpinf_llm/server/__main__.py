"""``python -m mlpinf_llm.server ENGINE``: serve a CTranslate2 engine until told to stop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from mlpinf_core.machine import usable_processors
from mlpinf_llm.server.engine import Engine
from mlpinf_llm.server.web import CompletionServer

log = logging.getLogger("mlpinf_llm.server")


def main(arguments: list[str] | None = None) -> int:
    """Load, listen, serve; SIGTERM and SIGINT end it."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    cores = usable_processors()
    replicas = given.replicas or cores
    engine = Engine(
        given.engine,
        device=given.device,
        replicas=replicas,
        threads=given.threads or max(1, cores // replicas),
        max_batch_size=given.max_batch_size,
        max_wait_ms=given.max_wait_ms,
    )
    server = CompletionServer((given.host, given.port), engine, given.served_model_name)
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for serve_forever(), which this thread is in.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    host, port = server.server_address[:2]
    log.info("serving %s at http://%s:%s", given.served_model_name, host, port)
    server.serve_forever()
    server.server_close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlpinf_llm.server",
        description="A small OpenAI-compatible server, for tests and demonstrations.",
    )
    parser.add_argument("engine", type=Path, help="directory of a CTranslate2 engine")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--served-model-name", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--replicas", type=int, default=0, help="batches at the same time")
    parser.add_argument("--threads", type=int, default=0, help="threads of a batch")
    parser.add_argument("--max-batch-size", type=int, default=16)
    parser.add_argument("--max-wait-ms", type=float, default=5.0)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    logging.shutdown()
    os._exit(code)  # the engine's threads are no reason to wait
