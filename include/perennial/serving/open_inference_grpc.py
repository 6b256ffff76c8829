"""The Open Inference Protocol (V2) over gRPC: messages in, messages out, by the rules of its REST form.

Calls come to a port of gRPC's own, or through the gateway, which hands the message of a call to the server's socket as the body of a
request of HTTP. Imported where gRPC is spoken alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError, Message

from perennial.column_types import shown
from perennial.serving import open_inference_pb2 as messages
from perennial.serving.limits import MAX_BODY_BYTES
from perennial.serving.open_inference import (
    NAMES,
    SCORES,
    model_metadata,
    request_of,
    server_metadata,
    wanted_outputs,
)
from perennial.serving.refused import Refused, bad_request, too_large
from perennial.serving.request import BadRequest, Finder, Request, Signature
from perennial.serving.served_version import ServedVersion
from perennial.serving.tensors import (
    EVENT_TIME,
    INTEGERS,
    NULLS,
    Tensor,
    counted,
    in_range,
    named_shape,
    refuse_tensors,
    rounded,
    without_values,
)
from perennial.serving.wire_form import Scored

SERVICE = "inference.GRPCInferenceService"
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_STOP_SECONDS = 15.0


def code_of(refused: Refused) -> grpc.StatusCode:
    """gRPC's word for a refusal."""
    return _CODES.get(refused.status, grpc.StatusCode.INTERNAL)


class ProtobufForm:
    """One request of the protocol and its answer, as messages."""

    def __init__(self, message: messages.ModelInferRequest | None) -> None:
        self.message = message  # None if the body is none
        self.wanted: tuple[str, ...] = (SCORES, NAMES)
        self.raw = False  # the answer's contents are raw where the request's were

    def read(self, body: bytes | str, signature: Signature, finder: Finder | None) -> Request:
        """The request of the message. Raises BadRequest."""
        message = self.message or parsed(messages.ModelInferRequest, body)
        refuse_tensors(len(message.inputs), len(signature.inputs))
        raw = list(message.raw_input_contents)
        if raw and len(raw) != len(message.inputs):
            raise BadRequest(f"raw_input_contents has {len(raw)} parts for {len(message.inputs)} inputs: it needs one for each.")
        self.raw = bool(raw)
        contents: Sequence[bytes | None] = raw or [None] * len(message.inputs)
        tensors = [_tensor(given, content) for given, content in zip(message.inputs, contents, strict=True)]
        self.wanted = wanted_outputs(output.name for output in message.outputs)
        return request_of(tensors, message.id, _parameter(message.parameters, EVENT_TIME), signature, finder)

    def write(self, scored: Scored) -> bytes:
        """The message of the answer."""
        answer = messages.ModelInferResponse(model_name=scored.model, model_version=str(scored.version), id=scored.id)
        if scored.ignored:
            answer.parameters["ignored"].string_param = ", ".join(scored.ignored_shown)
        for name in self.wanted:
            output = answer.outputs.add(name=name, datatype="FP64" if name == SCORES else "BYTES")
            output.shape.extend(scored.scores.shape if name == SCORES else [len(scored.names)])
            words = [word.encode() for word in scored.names]
            if self.raw:
                answer.raw_output_contents.append(scored.scores.astype("<f8").tobytes() if name == SCORES else _raw_words(words))
            elif name == SCORES:
                output.contents.fp64_contents.extend(scored.scores.ravel())
            else:
                output.contents.bytes_contents.extend(words)
        made: bytes = answer.SerializeToString()
        return made


def parsed(kind: Any, body: bytes | str) -> Any:
    """A message of this kind. Raises BadRequest."""
    message = kind()
    try:
        message.ParseFromString(body)
    except (DecodeError, TypeError):
        raise BadRequest(f"The message is no {kind.DESCRIPTOR.name} of the Open Inference Protocol.") from None
    return message


def _parameter(parameters: Mapping[str, Any], name: str) -> object:
    if name not in parameters:
        return None
    given = parameters[name]
    choice = given.WhichOneof("parameter_choice")
    return getattr(given, choice) if choice else None


def _tensor(given: Any, content: bytes | None) -> Tensor:
    name, datatype, shape = named_shape(given.name, given.datatype, list(given.shape))
    if content is None:
        if datatype not in _CONTENTS:
            raise BadRequest(f"Input {name} has the datatype {datatype}: send it in raw_input_contents.")
        values: list[Any] = list(getattr(given.contents, _CONTENTS[datatype]))
        counted(name, shape, len(values))
        if datatype in INTEGERS:
            in_range(name, datatype, values)
    elif datatype == "BYTES":
        values = _words(name, content)
        counted(name, shape, len(values))
    else:
        kind = np.dtype("?" if datatype == "BOOL" else datatype.lower().replace("fp", "float")).newbyteorder("<")
        if len(content) % kind.itemsize:
            raise BadRequest(f"Input {name} has {len(content)} raw bytes, which are no {datatype}s of {kind.itemsize} bytes each.")
        counted(name, shape, len(content) // kind.itemsize)
        values = np.frombuffer(content, dtype=kind).tolist()
    if datatype.startswith("FP"):
        values = rounded(values, datatype)
    return Tensor(name, datatype, shape, values, without_values(name, shape[0], _parameter(given.parameters, NULLS)))


def _words(name: str, content: bytes) -> list[bytes]:
    """Raw elements of bytes: each has its length in four bytes before it."""
    words, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        if at + 4 + length > len(content):
            raise BadRequest(f"Input {name} has raw bytes that end within an element: each needs its length in four bytes before it.")
        words.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return words


def _raw_words(words: Sequence[bytes]) -> bytes:
    return b"".join(len(word).to_bytes(4, "little") + word for word in words)


class InferenceService:
    """The protocol's calls on one version: the bytes of a message in, the bytes of a message out."""

    def __init__(self, served: ServedVersion) -> None:
        self.served = served
        self.calls: dict[str, Callable[[bytes, Mapping[str, str]], bytes]] = {
            "ServerLive": lambda body, headers: _made(messages.ServerLiveResponse(live=True)),
            "ServerReady": lambda body, headers: _made(messages.ServerReadyResponse(ready=served.ready)),
            "ServerMetadata": lambda body, headers: _made(messages.ServerMetadataResponse(**server_metadata())),
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }

    def call(self, name: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The answer to a call.

        Raises:
            Refused: there is no such call, or the version refuses it.
        """
        if name not in self.calls:
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, "UNKNOWN_CALL", f"There is no call {shown(name)}: there are {', '.join(self.calls)}.")
        if len(body) > MAX_BODY_BYTES:
            raise too_large(MAX_BODY_BYTES)
        try:
            return self.calls[name](body, headers)
        except BadRequest as error:
            raise bad_request(str(error)) from None

    def _infer(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        message = messages.ModelInferRequest()
        try:
            message.ParseFromString(body)
        except DecodeError:  # a bad request, which the version counts
            return self.served.answer(body, headers, ProtobufForm(None))
        self.served.must_be(message.model_name, message.model_version)
        return self.served.answer(body, headers, ProtobufForm(message))

    def _model_ready(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        asked = parsed(messages.ModelReadyRequest, body)
        self.served.must_be(asked.name, asked.version)
        return _made(messages.ModelReadyResponse(ready=self.served.ready))

    def _model_metadata(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        asked = parsed(messages.ModelMetadataRequest, body)
        served = self.served
        served.must_be(asked.name, asked.version)
        served.must_be_ready()
        return _made(
            messages.ModelMetadataResponse(
                **model_metadata(served.model, served.version, served.scorer.signature, len(served.scorer.names))
            )
        )


def _made(message: Message) -> bytes:
    made: bytes = message.SerializeToString()
    return made


class GrpcServer:
    """A version at a port of gRPC's own, as pods have it."""

    def __init__(self, served: ServedVersion, address: str, threads: int) -> None:
        self.service = InferenceService(served)
        options = [
            ("grpc.max_receive_message_length", 2 * MAX_BODY_BYTES),  # between the two the caller gets the server's sentence
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        self.server = grpc.server(ThreadPoolExecutor(threads, "grpc"), options=options)
        handlers = {name: grpc.unary_unary_rpc_method_handler(self._handler(name)) for name in self.service.calls}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self.server.add_insecure_port(address)

    def start(self) -> None:
        """Answer from now on."""
        self.server.start()

    def stop(self) -> None:
        """Take no more calls, and wait for those that run."""
        self.server.stop(_STOP_SECONDS).wait()

    def _handler(self, name: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def handle(body: bytes, context: grpc.ServicerContext) -> bytes:
            headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str) and "_" not in key}
            try:
                return self.service.call(name, body, headers)
            except Refused as refused:
                context.abort(code_of(refused), str(refused))
                raise  # never reached: abort raises

        return handle
