"""A real gRPC server that speaks as Triton does with TensorRT-LLM's ``tensorrt_llm`` model.

Decoupled: requests of one stream are answered in turns, each by several responses that name it. It
knows the model's declared inputs (config.pbtxt of TensorRT-LLM's inflight_batcher_llm), and refuses
others.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answer = Callable[[list[int], int, int, int], tuple[list[int], str]]

INPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "input_ids": ("INT32", (1, -1)),
    "input_lengths": ("INT32", (1, 1)),
    "request_output_len": ("INT32", (1, 1)),
    "end_id": ("INT32", (1, 1)),
    "pad_id": ("INT32", (1, 1)),
    "stop_words_list": ("INT32", (1, 2, -1)),
    "temperature": ("FP32", (1, 1)),
    "runtime_top_k": ("INT32", (1, 1)),
    "runtime_top_p": ("FP32", (1, 1)),
    "min_tokens": ("INT32", (1, 1)),
    "seed": ("UINT64", (1, 1)),
    "exclude_input_in_output": ("BOOL", (1, 1)),
    "streaming": ("BOOL", (1, 1)),
}
NEEDED = ("input_ids", "input_lengths", "request_output_len")
TYPES = {"INT32": np.int32, "FP32": np.float32, "UINT64": np.uint64, "BOOL": np.bool_}


def read(request: Any) -> dict[str, Any]:
    """The inputs as arrays, checked against the model's configuration."""
    found = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.name not in INPUTS:
            raise ValueError(f"unexpected inference input '{tensor.name}' for model")
        kind, shape = INPUTS[tensor.name]
        if tensor.datatype != kind:
            raise ValueError(f"inference input '{tensor.name}' data-type is '{tensor.datatype}'")
        fits = [want in (-1, have) for want, have in zip(shape, tensor.shape, strict=True)]
        if not all(fits):
            raise ValueError(f"unexpected shape for input '{tensor.name}'")
        found[tensor.name] = np.frombuffer(raw, TYPES[kind]).reshape(tuple(tensor.shape))
    if missing := [name for name in NEEDED if name not in found]:
        raise ValueError(f"expected inputs {missing}")
    assert found["input_ids"].shape[1] == found["input_lengths"][0, 0]
    return found


def respond(request: Any, ids: list[int] | None, *, last: bool) -> Any:
    """One response: some ids, or none in an empty last one."""
    answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
    answer.parameters["triton_final_response"].bool_param = last
    if ids is not None:
        answer.outputs.add(name="output_ids", datatype="INT32", shape=(1, 1, len(ids) + 1))
        answer.raw_output_contents.append(np.array([*ids, -1], np.int32).tobytes())  # padded
        answer.outputs.add(name="sequence_length", datatype="INT32", shape=(1, 1))
        answer.raw_output_contents.append(np.array([len(ids)], np.int32).tobytes())
    return service_pb2.ModelStreamInferResponse(infer_response=answer)


def error(words: str, name: str) -> Any:
    """What Triton sends for a request that failed: the error, and whose it is."""
    answer = service_pb2.ModelInferResponse(id=name)
    return service_pb2.ModelStreamInferResponse(error_message=words, infer_response=answer)


def _receive(requests: Any, inbox: queue.SimpleQueue[Any]) -> None:
    """Take requests as they come, and None when nothing follows."""
    with contextlib.suppress(grpc.RpcError):  # the client is gone
        for request in requests:
            inbox.put(request)
    inbox.put(None)


class TritonServer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Listens on a free port of this machine until it is closed.

    Attributes:
        address: host and port.
        fault: what goes wrong from now on; see :meth:`_fault`.
        answered: requests that were begun.
        streams: that clients have opened.
    """

    def __init__(self, answer: Answer, *, fault: str = "", ready: bool = True) -> None:
        self.answer = answer
        self.fault = fault
        self.ready = ready
        self.answered = 0
        self.streams = 0
        self._server = grpc.server(ThreadPoolExecutor(16))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> TritonServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=self.ready and request.name == "tensorrt_llm")

    def ModelStreamInfer(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        self.streams += 1
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(request_iterator, inbox), daemon=True).start()
        begun: deque[Iterator[Any]] = deque()
        more = True
        while more or begun:
            if more and not (begun and inbox.empty()):
                request = inbox.get()
                more = request is not None
                if more:
                    begun.append(self._respond(request))
            elif (response := next(begun[0], None)) is None:
                begun.popleft()
            elif response == "break":
                context.abort(grpc.StatusCode.INTERNAL, "out of memory")
            elif response == "die":
                self._server.stop(0)
                return
            else:
                begun.rotate()  # the next response is another request's
                yield response

    def _respond(self, request: Any) -> Iterator[Any]:
        self.answered += 1
        try:
            asked = read(request)
        except ValueError as wrong:
            yield error(str(wrong), request.id)
            return
        if self.answered > 70 and (said := self._fault(request)) is not None:
            yield from said
            return
        cap = int(asked["request_output_len"][0, 0])
        prompt = asked["input_ids"][0].tolist()
        end = int(asked["end_id"][0, 0])
        ids, _ = self.answer(prompt, cap, int(asked["min_tokens"][0, 0]), end)
        if not asked["streaming"][0, 0]:
            yield respond(request, ids, last=True)
            return
        yield respond(request, ids[:1], last=False)
        yield respond(request, ids[1:], last=False)
        yield respond(request, None, last=True)

    def _fault(self, request: Any) -> list[Any] | None:
        """What goes wrong with a request after those of the warm-up."""
        once = self.answered == 75
        if self.fault == "one-fails" and once:
            return [error("out of memory", request.id)]
        if self.fault == "nameless" and once:
            return [error("bad request", "")]
        if self.fault == "breaks" and once:
            return ["break"]
        if self.fault == "dies" and self.answered >= 75:
            return ["die"]
        if self.fault == "silent" and once:
            return []
        if self.fault == "malformed" and once:
            empty = respond(request, [100, 101], last=True)
            del empty.infer_response.outputs[1:]
            return [empty]
        if self.fault == "over-cap":
            return [respond(request, list(range(100, 1200)), last=True)]
        if self.fault == "no-tokens":
            return [respond(request, None, last=True)]
        return None
