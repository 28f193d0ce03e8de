"""Requests and answers of the ``tensorrt_llm`` model, in Triton's gRPC messages.

As triton_backend/all_models/inflight_batcher_llm/tensorrt_llm/config.pbtxt of TensorRT-LLM declares
the model: ids in, ids out, batch dimension first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_llm.faults import malformed, refused

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpinf_llm.engine_backend import Asked
    from mlpinf_llm.triton.settings import TritonSettings

_FINAL: Final = "triton_final_response"
"""The parameter of a response that says whether another follows."""
_TYPES: Final = {"INT32": np.int32, "INT64": np.int64, "UINT32": np.uint32}


class Requests:
    """Makes requests: what is the same in all of them is written once."""

    def __init__(self, settings: TritonSettings, ask: Asked) -> None:
        """Write the common part.

        Args:
            settings: of the backend.
            ask: what answers are asked for with.
        """
        from tritonclient.grpc import service_pb2

        self._template = service_pb2.ModelInferRequest(
            model_name=settings.model, model_version=settings.model_version
        )
        self._template.parameters["triton_enable_empty_final_response"].bool_param = True
        rules = ask.generation
        end, *others = rules.eos_ids
        _add(self._template, "request_output_len", np.array([[ask.cap]], np.int32))
        _add(self._template, "end_id", np.array([[end]], np.int32))
        _add(self._template, "pad_id", np.array([[end]], np.int32))
        if others:  # one id each, and where each ends
            words = np.array([[others, range(1, len(others) + 1)]], np.int32)
            _add(self._template, "stop_words_list", words)
        _add(self._template, "min_tokens", np.array([[ask.least]], np.int32))
        if rules.temperature > 0:  # with a top-k of 1 it changes nothing
            _add(self._template, "temperature", np.array([[rules.temperature]], np.float32))
        _add(self._template, "runtime_top_k", np.array([[rules.top_k]], np.int32))
        _add(self._template, "runtime_top_p", np.array([[rules.top_p]], np.float32))
        _add(self._template, "seed", np.array([[rules.seed]], np.uint64))
        _add(self._template, "exclude_input_in_output", np.array([[True]]))
        _add(self._template, "streaming", np.array([[ask.stream]]))

    def make(self, name: str, prompt: npt.NDArray[np.int32]) -> Any:
        """The request of one prompt, int32 [length], under a name of its own."""
        request = type(self._template)()
        request.CopyFrom(self._template)
        request.id = name
        _add(request, "input_ids", np.ascontiguousarray(prompt, np.int32)[None])
        _add(request, "input_lengths", np.array([[len(prompt)]], np.int32))
        return request


def _add(request: Any, name: str, array: npt.NDArray[Any]) -> None:
    kinds = {"i4": "INT32", "f4": "FP32", "b1": "BOOL", "u8": "UINT64"}
    request.inputs.add(name=name, datatype=kinds[array.dtype.str[1:]], shape=array.shape)
    request.raw_input_contents.append(array.tobytes())


def tokens(response: Any) -> list[int]:
    """The ids that a response brings, none in an empty last one.

    Raises:
        RequestError: it is no answer of the ``tensorrt_llm`` model.
    """
    found = {
        output.name: (output, raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=False)
    }
    if not found:
        return []
    if "output_ids" not in found or "sequence_length" not in found:
        raise malformed("a response of Triton has no output_ids and sequence_length")
    ids = _array(*found["output_ids"])
    lengths = _array(*found["sequence_length"])
    if ids.ndim != 3 or ids.shape[:2] != (1, 1) or lengths.size != 1:
        raise malformed(f"a response of Triton has output_ids of shape {list(ids.shape)}")
    row: list[int] = ids[0, 0, : max(0, int(lengths.flat[0]))].tolist()
    return row


def is_last(response: Any) -> bool:
    """Whether nothing follows a response."""
    parameter = response.parameters.get(_FINAL)
    return parameter is not None and bool(parameter.bool_param)


def _array(output: Any, raw: bytes) -> npt.NDArray[Any]:
    if output.datatype not in _TYPES:
        raise malformed(f"Triton's {output.name} is of type {output.datatype}")
    try:
        return np.frombuffer(raw, _TYPES[output.datatype]).reshape(tuple(output.shape))
    except ValueError as error:
        raise malformed(f"Triton's {output.name} does not fit its shape") from error


def check(error: str) -> None:
    """Refuse an answer that is an error.

    Raises:
        RequestError: it is.
    """
    if error:
        raise refused(f"Triton failed a request: {error}")
