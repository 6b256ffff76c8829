"""The Open Inference Protocol (V2) over REST: tensors as JSON in, tensors out, and what a server says of itself and its model.

>>> import numpy as np
>>> from perennial.serving.open_inference import OpenInferenceForm
>>> from perennial.serving.wire_form import Scored
>>> OpenInferenceForm().write(Scored("churn", 7, ["value"], "mine", np.array([[0.25]])))[:62]
b'{"model_name":"churn","model_version":"7","id":"mine","outputs'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from perennial.column_types import shown
from perennial.serving.request import BadRequest, Finder, Input, Request, Signature, checked, parse
from perennial.serving.tensors import EVENT_TIME, NULLS, Tensor, columns_of, from_json, named_shape, refuse_tensors, rows_of
from perennial.serving.wire_form import Scored

SCORES, NAMES = "scores", "names"  # the outputs: a number for each row and name, and the names
EXAMPLE = '{"inputs": [{"name": "distance", "shape": [1], "datatype": "INT64", "data": [719]}]}'
PLATFORM = "perennial"
RELEASE = "0.1.0"  # of this project, as pyproject.toml has it: an image has no metadata of packages
_DATATYPES = {"int": "INT64", "float": "FP64", "bool": "BOOL"}  # all else is BYTES
_NAMED = ("id", f"parameters.{EVENT_TIME}")  # what callers call the id and the time of the event


class OpenInferenceForm:
    """One request of the protocol and its answer, as JSON."""

    def __init__(self) -> None:
        self.wanted: tuple[str, ...] = (SCORES, NAMES)

    def read(self, body: bytes | str, signature: Signature, finder: Finder | None) -> Request:
        """The request of a body. Raises BadRequest."""
        document = parse(body, EXAMPLE)
        inputs = document.get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
            raise BadRequest(f"The request has no inputs: send {EXAMPLE}.")
        refuse_tensors(len(inputs), len(signature.inputs))
        tensors = [_tensor(one) for one in inputs]
        outputs = document.get("outputs") or []
        if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
            raise BadRequest('outputs must be a list like [{"name": "scores"}].')
        self.wanted = wanted_outputs(one.get("name") for one in outputs)
        return request_of(tensors, document.get("id"), _parameters(document).get(EVENT_TIME), signature, finder)

    def write(self, scored: Scored) -> bytes:
        """The body of the answer."""
        rows, columns = scored.scores.shape
        outputs = {
            SCORES: {"name": SCORES, "datatype": "FP64", "shape": [rows, columns], "data": scored.scores.ravel()},
            NAMES: {"name": NAMES, "datatype": "BYTES", "shape": [columns], "data": scored.names},
        }
        parameters = {"ignored": ", ".join(scored.ignored_shown)} if scored.ignored else {}
        parameters |= {"fallback": scored.fallback} if scored.fallback else {}
        return orjson.dumps(
            {
                "model_name": scored.model,
                "model_version": str(scored.version),
                "id": scored.id,
                **({"parameters": parameters} if parameters else {}),
                "outputs": [outputs[name] for name in self.wanted],
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )


def _tensor(given: Mapping[str, Any]) -> Tensor:
    name, datatype, shape = named_shape(given.get("name"), given.get("datatype"), given.get("shape"))
    parameters = _parameters(given)
    if "binary_data_size" in parameters:
        raise BadRequest(f"Input {name} has binary data: send its values as JSON in data, or ask over gRPC.")
    return from_json(name, datatype, shape, given.get("data"), parameters.get(NULLS))


def _parameters(given: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = given.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest("parameters must be an object.")
    return parameters or {}


def wanted_outputs(asked: Iterable[object]) -> tuple[str, ...]:
    """The outputs of an answer, in the order in which they are asked for; all if none is named. Raises BadRequest."""
    names = list(asked)
    for name in names:
        if name not in (SCORES, NAMES):
            raise BadRequest(f"There is no output {shown(name)}: the outputs are {SCORES} and {NAMES}.")
    return tuple(dict.fromkeys(map(str, names))) or (SCORES, NAMES)


def request_of(tensors: list[Tensor], puid: object, event_time: object, signature: Signature, finder: Finder | None) -> Request:
    """The request that tensors make. Raises BadRequest."""
    columns = columns_of(tensors, {given.name: given for given in signature.inputs})
    meta = {"puid": puid or None, "tags": {"event_time": event_time}}
    by_input = columns if columns.keys() == signature.names else None
    return checked(rows_of(columns), meta, signature, finder, _NAMED, by_input)


def server_metadata() -> dict[str, Any]:
    """What the protocol asks of a server."""
    return {"name": PLATFORM, "version": RELEASE, "extensions": []}


def model_metadata(model: str, version: int, signature: Signature, names: int) -> dict[str, Any]:
    """What the protocol asks of a model: its inputs as they are best sent, and its outputs."""
    return {
        "name": model,
        "versions": [str(version)],
        "platform": PLATFORM,
        "inputs": [{"name": given.name, **_described(given)} for given in signature.inputs],
        "outputs": [
            {"name": SCORES, "datatype": "FP64", "shape": [-1, names]},
            {"name": NAMES, "datatype": "BYTES", "shape": [names]},
        ],
    }


def _described(given: Input) -> dict[str, Any]:
    if given.type == "array":
        return {"datatype": _DATATYPES.get(given.of, "FP64"), "shape": [-1, *given.shape]}
    return {"datatype": _DATATYPES.get(given.type, "BYTES"), "shape": [-1]}
