"""Scores of a frame's rows: by what serves, through the gateway, or by a version's own folder in this process.

Both check rows by the version's signature, and answer by the same code (`serving/scorer.py`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from perennial import discovery
from perennial.client.connection import Connection, connection
from perennial.client.process import say
from perennial.errors import Refused, ServiceUnreachable, UnknownName
from perennial.specs import ModelSpec

if TYPE_CHECKING:
    import pandas

    from perennial.serving.load import Call

ROWS_OF_A_CALL = 500


def score(
    model: str,
    frame: pandas.DataFrame,
    version: int | str | None = None,
    *,
    where: Literal["gateway", "here"] | None = None,
    at: str = "",
) -> pandas.DataFrame:
    """Score rows.

    Through the gateway, the answers are predictions like any other caller's: logged, with an id, and part of the windows that monitoring
    judges. Scored here, nothing is logged, and there are no ids.

    Args:
        model: its name.
        frame: rows with the model's inputs as columns; others are left out.
        version: number, or first signs of a digest; what serves if absent.
        where: `gateway`, `here`, or, if absent, through the gateway if it serves that version and here if not; a line says which.
        at: column with the time of each row, for the gateway: each row is then a request of its own, and its time is the event time of
            its prediction. Without it the predictions are of now.

    Returns:
        A row for each row, with the frame's index: `predicted` (a class, or the value), `score_<class>` for each class, `version`, and
        `prediction_id` where the gateway answered.

    Raises:
        UnknownName: there is no such model or version, or the frame has none of its inputs.
        Refused: a row does not fit the version's signature; the sentence says which and why.
        ServiceUnreachable: the gateway was asked for, and does not answer.
    """
    spec, here = discovery.model(model), connection()
    if frame.empty:
        raise UnknownName(f"The frame has no rows: give rows with the inputs of {model}, {', '.join(spec.inputs[:5])}, ...")
    if at and at not in frame.columns:
        raise UnknownName(f"The frame has no column {at} with the time of each row: it has {', '.join(map(str, frame.columns[:10]))}.")
    served = _served(here, model)
    number, digest = _version(here, model, version, served)
    why = "" if number in served else f"version {number} does not serve" if number is not None else "the gate did not register it"
    if where == "gateway" and why:
        raise UnknownName(f"{model} cannot answer through the gateway, since {why}: release it first, or score it here.")
    if where != "here" and not why:
        try:
            return _by_gateway(here, spec, frame, None if version is None else number, at)
        except ServiceUnreachable as silent:
            if where == "gateway":
                raise
            why = str(silent).partition(":")[0]
    if at:
        raise UnknownName(f"Rows have a time of their own, at={at!r}, in requests alone, and {why or 'they are scored here'}.")
    answer = _here(here, spec, frame, number, digest)
    if where != "here":
        say(f"Scored here, by {_named(number, digest)}, and not logged: {why}.")
    return answer


def _served(here: Connection, model: str) -> dict[int, str]:
    """Digests of the versions that callers can reach, by number; the one that answers most first."""
    from perennial.lineage.ledger import Ledger
    from perennial.stages._routes import route_of

    entry = Ledger(here.store, model).last()
    route = route_of(entry) if entry else None
    if route is None:
        return {}
    return {number: route.digests[number] for number in sorted(route.versions, key=lambda number: number != route.stable)}


def _version(here: Connection, model: str, version: int | str | None, served: dict[int, str]) -> tuple[int | None, str]:
    """Number and digest of the version that is asked for."""
    from perennial.lineage.version_notes import versions_newest_first
    from perennial.views.versions import chosen

    if version is None:
        if not served:
            raise UnknownName(
                f"No version of {model} serves: name one, such as version=1; perennial.show('versions', '{model}') lists them."
            )
        return next(iter(served.items()))
    if isinstance(version, str) and len(version) == 64:
        return next((number for number, digest in served.items() if digest == version), None), version
    note = chosen(versions_newest_first(here.store, model), model, str(version))
    return note.number, note.digest


def _by_gateway(here: Connection, spec: ModelSpec, frame: pandas.DataFrame, number: int | None, at: str) -> pandas.DataFrame:
    import numpy as np

    from perennial.lineage.ledger import Ledger
    from perennial.serving.envoy import VERSION_WANTED
    from perennial.serving.load import NO_ANSWER, ask, gateway
    from perennial.stages._versions import as_logged

    dataset = discovery.dataset_of(spec)
    inputs = as_logged(here.store, spec, dataset, Ledger(here.store, spec.name).newest(1)).inputs
    if spec.joins:  # the server finds what they bring where the frame has their keys instead
        inputs = tuple(dict.fromkeys((*inputs, *(name for join in spec.joins for name in join.key), dataset.time_column)))
    rows = request_rows(spec, frame, inputs)
    headers = {} if number is None else {VERSION_WANTED: str(number)}
    answered, ids, scores = list[int](), list[str](), list[Any]()
    connected, path = gateway(here.settings, spec)
    try:
        for first, call in _calls(rows, frame[at].tolist() if at else []):
            failure, answer = ask(connected, path, call, headers)
            if failure and failure.startswith(NO_ANSWER):
                raise ServiceUnreachable(
                    f"the gateway at {here.settings.gateway_url} does not answer: {failure.removeprefix(NO_ANSWER)}. Start the platform "
                    "(`perennial up`)."
                )
            if failure:
                before = f" {first} rows before it were answered and logged." if first else ""
                raise Refused(f"The gateway did not answer the rows from {first} on ({failure}).{before}")
            answered += [int(answer["meta"]["tags"]["version"])] * len(call.rows)
            ids += [f"{answer['meta']['puid']}-{place}" for place in range(len(call.rows))]
            scores += answer["data"]["ndarray"]
    finally:
        connected.close()
    return _frame(spec, frame, np.array(scores, float)).assign(version=answered, prediction_id=ids)


def _here(here: Connection, spec: ModelSpec, frame: pandas.DataFrame, number: int | None, digest: str) -> pandas.DataFrame:
    from perennial.lineage.version_folder import fetch
    from perennial.serving.request import BadRequest, read_request
    from perennial.serving.scorer import Scorer, ScoringFailed

    with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
        scorer = Scorer(fetch(here.store, spec.name, digest, Path(scratch) / "version"))
        rows = request_rows(spec, frame, [given.name for given in scorer.signature.inputs])
        try:
            request = read_request(json.dumps({"data": {"rows": rows}}), scorer.signature, max_rows=len(rows))
            scores = scorer.score(request.columns)
        except (BadRequest, ScoringFailed) as error:
            raise Refused(str(error)) from None
    return _frame(spec, frame, scores).assign(version=digest[:12] if number is None else number)


def request_rows(spec: ModelSpec, frame: pandas.DataFrame, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as a request has them, with those of the inputs that the frame has.

    Raises:
        UnknownName: it has none.
    """
    from perennial.encoding import rows_from_columns

    names = [name for name in inputs if name in frame.columns]
    if not names:
        raise UnknownName(f"The frame has no input of {spec.name}: {spec.name} reads {', '.join(inputs)}.")
    whole = {column.name for column in discovery.dataset_of(spec).columns if column.type == "int"}
    rows = rows_from_columns({name: _values(frame[name]) for name in names}, names)
    # Whole numbers come as floats where some are missing.
    return [
        {name: int(value) if name in whole and isinstance(value, float) and value.is_integer() else value for name, value in row.items()}
        for row in rows
    ]


def _values(column: pandas.Series) -> Any:
    """A column as an array that NumPy knows; a missing value of pandas' own types is None."""
    import numpy as np

    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    objects = column.astype(object)
    return objects.where(column.notna(), None).to_numpy()


def _calls(rows: list[dict[str, Any]], times: list[Any]) -> Iterator[tuple[int, Call]]:
    """Place of the first row of each call, and the call."""
    from perennial.serving.load import Call

    if times:
        yield from ((place, Call([row], event_time=str(when))) for place, (row, when) in enumerate(zip(rows, times, strict=True)))
        return
    for first in range(0, len(rows), ROWS_OF_A_CALL):
        yield first, Call(rows[first : first + ROWS_OF_A_CALL])


def _frame(spec: ModelSpec, frame: pandas.DataFrame, scores: Any) -> pandas.DataFrame:
    import pandas

    from perennial.training.evaluation import predict

    if spec.task == "anomaly":
        return pandas.DataFrame({"predicted": scores[:, 1] > 0, "score": scores[:, 0]}, index=frame.index)
    if not spec.classes:
        return pandas.DataFrame({"predicted": scores[:, 0]}, index=frame.index)
    columns = {f"score_{name}": scores[:, place] for place, name in enumerate(spec.classes)}
    return pandas.DataFrame({"predicted": [spec.classes[place] for place in predict(spec.task, scores)], **columns}, index=frame.index)


def _named(number: int | None, digest: str) -> str:
    return f"candidate {digest[:12]}" if number is None else f"version {number}"
