"""A request as MLServer has read it, by REST or gRPC, and its answer: the tensors are those of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlserver.types import InferenceRequest, InferenceResponse, Parameters, RequestInput, ResponseOutput

from perennial.serving.limits import MAX_BODY_BYTES
from perennial.serving.open_inference import NAMES, SCORES, request_of, wanted_outputs
from perennial.serving.request import Finder, Request, Signature
from perennial.serving.served_version import VERSION_HEADER
from perennial.serving.tensors import EVENT_TIME, NULLS, Tensor, counted, from_json, named_shape, refuse_tensors, without_values
from perennial.serving.wire_form import Scored

_BYTES_OF_ELEMENT = 64  # in memory, roughly


class MLServerForm:
    """One request and its answer, as MLServer's objects."""

    answer: InferenceResponse

    def __init__(self, payload: InferenceRequest, name: str) -> None:
        self.payload, self.name = payload, name
        self.wanted: tuple[str, ...] = (SCORES, NAMES)

    def read(self, body: bytes | str, signature: Signature, finder: Finder | None) -> Request:
        """The request that MLServer has read; the body is as long as it was. Raises BadRequest."""
        del body
        refuse_tensors(len(self.payload.inputs), len(signature.inputs))
        tensors = [_tensor(given) for given in self.payload.inputs]
        self.wanted = wanted_outputs(output.name for output in self.payload.outputs or ())
        return request_of(tensors, self.payload.id, _parameter(self.payload.parameters, EVENT_TIME), signature, finder)

    def write(self, scored: Scored) -> bytes:
        """Makes `answer`."""
        rows, columns = scored.scores.shape
        outputs = {
            SCORES: ResponseOutput(name=SCORES, datatype="FP64", shape=[rows, columns], data=scored.scores.ravel().tolist()),
            NAMES: ResponseOutput(name=NAMES, datatype="BYTES", shape=[columns], data=[name.encode() for name in scored.names]),
        }
        ignored = {"ignored": ", ".join(scored.ignored_shown)} if scored.ignored else {}
        self.answer = InferenceResponse(
            model_name=self.name,
            model_version=str(scored.version),
            id=scored.id,
            parameters=Parameters(headers={VERSION_HEADER: str(scored.version)}, **ignored),
            outputs=[outputs[name] for name in self.wanted],
        )
        return b""


def headers_of(payload: InferenceRequest) -> dict[str, str]:
    """The headers of a request, or the metadata of a call, by names in lower case."""
    headers = (payload.parameters.headers if payload.parameters else None) or {}
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def size_of(payload: InferenceRequest, headers: Mapping[str, str]) -> int:
    """How large a request was, in bytes: as it says itself, or roughly by its elements."""
    told = headers.get("content-length", "")
    elements = sum(len(given.data) for given in payload.inputs if isinstance(given.data.root, (list, bytes)))
    return min(int(told) if told.isdecimal() else _BYTES_OF_ELEMENT * elements, MAX_BODY_BYTES)


def _parameter(parameters: Parameters | None, name: str) -> object:
    return (parameters.model_extra or {}).get(name) if parameters else None


def _tensor(given: RequestInput) -> Tensor:
    name, datatype, shape = named_shape(given.name, given.datatype, given.shape)
    data: Any = given.data.root
    nulls = _parameter(given.parameters, NULLS)
    if isinstance(data, list) and any(isinstance(element, bytes) for element in data):  # of gRPC
        counted(name, shape, len(data))
        return Tensor(name, datatype, shape, data, without_values(name, shape[0], nulls))
    return from_json(name, datatype, shape, data, nulls)
