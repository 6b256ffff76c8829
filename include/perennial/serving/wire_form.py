"""How a request is written and its answer read: what differs between the protocols by which a version may be asked.

>>> import numpy as np
>>> from perennial.serving.wire_form import Scored, SeldonForm
>>> SeldonForm().write(Scored("churn", 7, ["stays", "leaves"], "mine", np.array([[0.25, 0.75]])))
b'{"data":{"names":["stays","leaves"],"ndarray":[[0.25,0.75]]},"meta":{"puid":"mine","tags":{"model":"churn","version":7}}}'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson

from perennial.serving.request import Finder, Request, Signature, read_request

MOST_NAMED = 20  # of the fields that a version ignored, in its answer


@dataclass(frozen=True)
class Scored:
    """What the answer to a request says."""

    model: str
    version: int
    names: list[str]  # of the columns of `scores`
    id: str
    scores: np.ndarray  # float64 [rows, names]
    ignored: tuple[str, ...] = ()  # fields of the request that the version does not know
    fallback: str = ""  # how it stands in for the answer of a version that failed; empty if it does not

    @property
    def ignored_shown(self) -> list[str]:
        """As many of the ignored fields as an answer names."""
        return [name[:80] for name in self.ignored[:MOST_NAMED]]


class WireForm(Protocol):
    """One request and its answer in the form of a protocol."""

    def read(self, body: bytes | str, signature: Signature, finder: Finder | None) -> Request:
        """The request of a body. Raises BadRequest."""
        ...

    def write(self, scored: Scored) -> bytes:
        """The body of the answer."""
        ...


class SeldonForm:
    """Rows as JSON objects in, lists of scores out: Seldon's v1 protocol."""

    def read(self, body: bytes | str, signature: Signature, finder: Finder | None) -> Request:
        """The request of a body. Raises BadRequest."""
        return read_request(body, signature, finder=finder)

    def write(self, scored: Scored) -> bytes:
        """The body of the answer."""
        tags: dict[str, Any] = {"model": scored.model, "version": scored.version}
        if scored.ignored:
            tags["ignored"] = scored.ignored_shown
        if scored.fallback:
            tags["fallback"] = scored.fallback
        return orjson.dumps(
            {"data": {"names": scored.names, "ndarray": scored.scores}, "meta": {"puid": scored.id, "tags": tags}},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
