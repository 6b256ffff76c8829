"""Tensors of the Open Inference Protocol, one for each input of a model, and the rows that they mean.

>>> from perennial.serving.tensors import Tensor, columns_of, rows_of
>>> rows_of(columns_of([Tensor("carrier", "BYTES", (2, 1), ["UA", None]), Tensor("distance", "INT64", (2,), [719, 1400])], {}))
[{'carrier': 'UA', 'distance': 719}, {'carrier': None, 'distance': 1400}]
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import ne
from typing import Any, NamedTuple

import numpy as np
import orjson

from perennial.column_types import shown
from perennial.serving.request import MAX_ROWS, BadRequest, Input, refuse_count

INTEGERS = {f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)}  # the least and the most
INTEGERS |= {f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)}
FLOATS: dict[str, Any] = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
DATATYPES = ("BOOL", *INTEGERS, *FLOATS, "BYTES")
NULLS = "nulls"  # the parameter of a tensor that names rows without a value
EVENT_TIME = "event_time"  # the parameter of a request
MOST_DIMENSIONS = 8
MOST_UNKNOWN = 1_000  # tensors of a request beyond the inputs of the model: each takes its time, whatever its size
_PLACE = r" *[0-9]{1,9} *"
_PLACES = re.compile(f"{_PLACE}(?:,{_PLACE})*")


class Tensor(NamedTuple):
    """One input of a request; its elements are Python's own values in row-major order, None where there is none."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]
    nulls: frozenset[int] = frozenset()  # rows without a value, whatever stands in their places


def named_shape(name: object, datatype: object, shape: object) -> tuple[str, str, tuple[int, ...]]:
    """What every tensor says of itself, checked. Raises BadRequest."""
    if not isinstance(name, str) or not name:
        raise BadRequest("Each of inputs needs a name.")
    if datatype not in DATATYPES:
        raise BadRequest(f"Input {name} has the datatype {shown(datatype)}: known are {', '.join(DATATYPES)}.")
    given = list(shape) if isinstance(shape, (list, tuple)) else []
    if not 1 <= len(given) <= MOST_DIMENSIONS or {*map(type, given)} != {int} or min(given) < 0:
        what = str(given)[:60] if given else shown(shape)
        raise BadRequest(f"Input {name} has the shape {what}: it must be a list like [2] or [2, 1], the number of rows first.")
    return name, str(datatype), tuple(given)


def refuse_tensors(count: int, inputs: int) -> None:
    """Raises BadRequest where a request has far more tensors than the model has inputs."""
    if count > inputs + MOST_UNKNOWN:
        raise BadRequest(f"The request has {count} inputs and the model {inputs}: send one for each, with as many rows as are asked for.")


def counted(name: str, shape: tuple[int, ...], values: int) -> None:
    """Raises BadRequest where a tensor has another number of values than its shape says."""
    if values != math.prod(shape):
        raise BadRequest(f"Input {name} has the shape {list(shape)} and {values} values: it needs {math.prod(shape)}.")


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: object, nulls: object = None) -> Tensor:
    """The tensor of a list of JSON, flat or nested as the shape says. Raises BadRequest."""
    values = data if isinstance(data, list) else None
    for _ in shape[1:]:
        if values and all(type(one) is list for one in values):
            values = [inner for one in values for inner in one]
    if values is None:
        raise BadRequest(f"Input {name} has no data: it must be a list of its values.")
    counted(name, shape, len(values))
    return Tensor(name, datatype, shape, _of_datatype(name, datatype, values), without_values(name, shape[0], nulls))


def _of_datatype(name: str, datatype: str, values: list[Any]) -> list[Any]:
    """Values of JSON as a datatype holds them. Raises BadRequest."""
    if datatype in FLOATS:
        allowed: tuple[type, ...] = (int, float)
    else:
        allowed = ({"BOOL": bool, "BYTES": str}.get(datatype, int),)
    if not set(map(type, values)) <= {*allowed, type(None)}:
        place = next(place for place, value in enumerate(values) if value is not None and type(value) not in allowed)
        raise BadRequest(f"Input {name} has {shown(values[place])} as element {place}, which is no {datatype}.")
    if datatype in INTEGERS:
        in_range(name, datatype, values)
    return rounded(values, datatype) if datatype in FLOATS else values


def in_range(name: str, datatype: str, values: Sequence[int | None]) -> None:
    """Raises BadRequest where a whole number is outside its datatype."""
    least, most = INTEGERS[datatype]
    known = [value for value in values if value is not None]
    if not known or (least <= min(known) and max(known) <= most):
        return
    for place, value in enumerate(values):
        if value is not None and not least <= value <= most:
            raise BadRequest(f"Input {name} has {shown(value)} as element {place}, which is no {datatype}: it has {least} to {most}.")


def rounded(values: Sequence[Any], datatype: str) -> list[float | None]:
    """Numbers as a datatype of fewer bits holds them; NaN means that there is no value, as None does."""
    if datatype == "FP64" and {*map(type, values)} <= {float, type(None)} and not any(map(ne, values, values)):
        return list(values)
    numbers = [None if value is None or value != value else _number(value) for value in values]  # noqa: PLR0124  NaN
    if datatype == "FP64":
        return numbers
    with np.errstate(over="ignore"):
        return [None if number is None else float(FLOATS[datatype](number)) for number in numbers]


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all of them
        return math.inf if value > 0 else -math.inf


def without_values(name: str, rows: int, nulls: object) -> frozenset[int]:
    """The rows that the parameter of a tensor names: their places, in a list or with commas between. Raises BadRequest."""
    if nulls is None or nulls == "":
        return frozenset()
    places: list[Any] = []
    if isinstance(nulls, list):
        places = [int(place) if isinstance(place, str) and re.fullmatch(_PLACE, place) else place for place in nulls]
    elif _PLACES.fullmatch(str(nulls)):
        places = [*map(int, str(nulls).split(","))]
    if not (places or nulls == []) or not {*map(type, places)} <= {int} or (places and not 0 <= min(places) <= max(places) < rows):
        raise BadRequest(f"Input {name} has the parameter {NULLS} {shown(nulls)}: it must name rows by their places, like 0,17.")
    return frozenset(places)


def columns_of(tensors: Sequence[Tensor], inputs: Mapping[str, Input], max_rows: int = MAX_ROWS) -> dict[str, Sequence[Any]]:
    """What a request has for each input, or for what it calls one, as it would stand in JSON. Raises BadRequest."""
    if not tensors:
        raise BadRequest("The request has no inputs: send one for each input of the model.")
    name, times = Counter(tensor.name for tensor in tensors).most_common(1)[0]
    if times > 1:
        raise BadRequest(f"The request has the input {name} twice.")
    first = tensors[0]
    for tensor in tensors:
        if tensor.shape[0] != first.shape[0]:
            raise BadRequest(f"Input {tensor.name} has {tensor.shape[0]} rows where {first.name} has {first.shape[0]}.")
    refuse_count(first.shape[0], max_rows)
    return {tensor.name: _with_nulls(_column(tensor, inputs.get(tensor.name)), tensor.nulls) for tensor in tensors}


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows that columns mean, as they would stand in JSON."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _with_nulls(values: Sequence[Any], nulls: frozenset[int]) -> Sequence[Any]:
    if not nulls:
        return values
    known = list(values)
    for row in nulls:
        known[row] = None
    return known


def _column(tensor: Tensor, given: Input | None) -> Sequence[Any]:
    """What a tensor has for each row."""
    kind = given.type if given else None
    values = _texts(tensor, image=kind == "image")
    inner = tensor.shape[1:]
    width = math.prod(inner)
    if kind in ("list", "array"):
        if tensor.datatype == "BYTES" and not inner:
            return [None if place in tensor.nulls else _of_json(tensor.name, place, value) for place, value in enumerate(values)]
        if given and kind == "array" and inner not in (given.shape, (math.prod(given.shape),)):
            wanted = [tensor.shape[0], *given.shape]
            raise BadRequest(f"Input {tensor.name} has the shape {list(tensor.shape)}: it must be {wanted}.")
        return [list(values[row * width : (row + 1) * width]) for row in range(tensor.shape[0])]
    if width != 1:
        raise BadRequest(
            f"Input {tensor.name} has the shape {list(tensor.shape)}: it must be [{tensor.shape[0]}] or [{tensor.shape[0]}, 1], "
            "one value for each row."
        )
    return values


def _texts(tensor: Tensor, *, image: bool) -> Sequence[Any]:
    """The values, with texts in the place of bytes; those of a picture may be the file's own."""
    if tensor.datatype != "BYTES" or bytes not in (types := {*map(type, tensor.values)}):
        return tensor.values
    if types == {bytes}:
        with contextlib.suppress(UnicodeDecodeError):  # said below
            return list(map(bytes.decode, tensor.values))
    texts: list[Any] = []
    for place, value in enumerate(tensor.values):
        if isinstance(value, bytes) and place not in tensor.nulls:
            try:
                texts.append(value.decode())
            except UnicodeDecodeError:
                if not image:
                    raise BadRequest(f"Input {tensor.name} has bytes as element {place} that are no text in UTF-8.") from None
                texts.append(base64.b64encode(value).decode())
        else:
            texts.append(value)
    return texts


def _of_json(name: str, place: int, value: str | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise BadRequest(f"Row {place}: {name} is {shown(value)}, which is no list in JSON.") from None
