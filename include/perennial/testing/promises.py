"""Promises that every model keeps, tried on an untrained network and rows made up from its dataset: `check_model`.

    >>> from perennial.testing import check_model
    >>> check_model("digits")

It raises an AssertionError with one sentence for each promise that is broken: the model, the column, and what to do.
"""

from __future__ import annotations

import math
import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from perennial import clock, discovery
from perennial.encoding import EXACT, Columns, Encoder, columns_from_rows
from perennial.errors import UnknownName
from perennial.pictures import as_png
from perennial.specs import Column, DatasetSpec, ModelSpec

if TYPE_CHECKING:
    from perennial.training.learners import Learned
    from perennial.training.module import TaskModule

Row = dict[str, Any]

ROWS = 24
CLOSE = 1e-5  # of a score: a batch of one row is computed in another order than one of many
FAR_ZONE, FAR_MACHINE = "Asia/Kathmandu", "Pacific/Kiritimati"  # of no dataset, and away from UTC by 5:45 and 14 hours
NEVER_SEEN = "a value never seen"
WORDS = ("good", "Bad,", "Größe", "\u05e9\u05dc\u05d5\u05dd", "\U0001f389", "5\u20ac")  # of texts: accents, another direction, symbols
STRANGE_TEXTS = ("", " ", NEVER_SEEN, "\U0001f469\u200d\U0001f680", "\u202eright to left", "x" * 500)
MANY = 10_000  # rows of a large batch
MOST_BYTES = 256 << 20  # of the features of a large batch: of pictures it has fewer rows
NO_NUMBERS = (math.inf, -math.inf, 1e308, -1e308)  # that files of numbers have all the same; NaN is how a table's null comes
HUGE = (EXACT, EXACT + 1, -EXACT - 1, 2**63 - 1, -(2**63))
FAR_APART = ((1, 2), (EXACT, EXACT + 2**30))  # two values that a category tells apart even as float32; ranges and capped counts need not


@dataclass(frozen=True)
class Trial:
    """A model as it is tried: its spec and code, rows as a caller would send them, and a network with the weights that it begins with."""

    spec: ModelSpec
    dataset: DatasetSpec
    features: ModuleType
    network: type[TaskModule] | None  # none where the learner has no network
    rows: Sequence[Row]

    def named(self, kind: str) -> list[str]:
        """The inputs of a type of column."""
        return [name for name in self.spec.inputs if self.dataset.column(name).type == kind]

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Columns:
        """Columns as serving makes them of a request with these rows."""
        import orjson

        from perennial.serving.request import read_request, read_signature
        from perennial.training.export import signature

        body = orjson.dumps({"data": {"rows": [{name: row.get(name) for name in self.spec.inputs} for row in rows]}})
        return read_request(body, read_signature(signature(self.spec, self.dataset))).columns

    @cached_property
    def own(self) -> Columns:
        """The columns of the trial's own rows."""
        return self.columns(self.rows)

    @cached_property
    def encoder(self) -> Encoder:
        """What the model's features.py learns of the trial's own rows."""
        return self.fit(self.own)

    @cached_property
    def learned(self) -> Learned:
        """A model that knows nothing: the network, untrained, with the weights of one seed, or what the spec's learner makes in no time."""
        from perennial.training.learners import learner_of

        if self.network is None:
            return learner_of(self.spec).sketch(self.spec, self.encoder, self.tensors(self.own))
        from perennial.training.learners.lightning import untrained

        return untrained(self.network, self.spec, self.encoder)

    def fit(self, columns: Columns) -> Encoder:
        """What the model's features.py learns of columns."""
        encoder: Encoder = self.features.fit(columns)
        return encoder

    def tensors(self, columns: Columns, encoder: Encoder | None = None) -> dict[str, np.ndarray]:
        """What the network gets of columns, by an encoder that was fitted to the trial's own rows unless one is given."""
        encoded: dict[str, np.ndarray] = self.features.encode(encoder or self.encoder, columns)
        return encoded

    def scores(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """What a model that knows nothing makes of tensors: [rows, classes or 1]."""
        return self.learned.scores(tensors)


def check_model(model: str | ModelSpec, rows: Sequence[Row] | None = None, *, only: str | None = None) -> None:
    """Try every promise on a model, without training it.

    Args:
        model: its name, or its spec.
        rows: request rows that the model understands (times as texts). Made up from the dataset's types unless given: give some where
            a feature expects more of a value than its type, such as a month between 1 and 12.
        only: one promise of `PROMISES`.

    Raises:
        AssertionError: promises are broken; a sentence for each.
        UnknownName: there is no such model, or no such promise.
    """
    if only is not None and only not in PROMISES:
        raise UnknownName(f"There is no promise {only!r}: name one of {', '.join(PROMISES)}.")
    spec = discovery.model(model) if isinstance(model, str) else model
    dataset = discovery.dataset_of(spec)
    features = discovery.model_part(spec.name, "features")
    network = discovery.model_part(spec.name, "model").Model if spec.learner == "lightning" else None
    broken = broken_promises(Trial(spec, dataset, features, network, rows or rows_like(spec, dataset)), only)
    if broken:
        raise AssertionError("\n".join(broken))


def broken_promises(trial: Trial, only: str | None = None) -> list[str]:
    """A sentence for each promise that a model breaks. Where its own rows are not even scored, why is all that is told."""
    if why := _not_scored(trial, trial.rows):
        unable = list(_nulls(trial)) or [f"{why} on rows of its dataset's types: mend it, or give `rows` that it understands."]
        return [f"{trial.spec.name}: {sentence}" for sentence in unable]
    return [f"{trial.spec.name}: {why}" for name, promise in PROMISES.items() if only in (None, name) for why in promise(trial)]


def rows_like(spec: ModelSpec, dataset: DatasetSpec, count: int = ROWS, seed: int = 0, *, names: Sequence[str] | None = None) -> list[Row]:
    """Request rows of a model made up from the types of its inputs, or of other columns of its dataset, by their `names`.

    Every fifth value is null where the dataset allows it.
    """
    rng = np.random.default_rng(seed)
    # By day, since an hour of the night may come twice or not at all where clocks change.
    times = [
        (datetime(2024, 1, 1, 6) + timedelta(days=int(day), minutes=int(day * 37 % 960))).isoformat()
        for day in rng.integers(365, size=count)
    ]
    made: dict[str, Callable[[], Any]] = {
        "int": lambda: int(rng.integers(0, 5)),
        "float": lambda: float(np.float32(rng.normal())),
        "string": lambda: str(rng.choice(["a", "b", "c"])),
        "bool": lambda: bool(rng.integers(2)),
        "timestamp": lambda: str(rng.choice(times)),
    }
    of = {"float": made["float"], "int": made["int"], "string": made["string"]}

    def value_of(column: Column) -> Any:
        if column.type == "list":
            return [of[column.of]() for _ in range(rng.integers(min(6, column.longest or 6)))]
        if column.type == "array":
            return [of[column.of]() for _ in range(math.prod(column.shape))]
        if column.type == "image":
            colors = () if column.mode == "L" else (3,)
            return b64encode(as_png(rng.integers(256, size=(*column.shape, *colors)).astype(np.uint8))).decode()
        if column.type == "text":
            return " ".join(rng.choice(WORDS, rng.integers(6)).tolist())[: column.longest]
        return made[column.type]()

    columns = [dataset.column(name) for name in names or spec.inputs]
    return [{column.name: None if column.nullable and rng.random() < 0.2 else value_of(column) for column in columns} for _ in range(count)]


def _order(trial: Trial) -> Iterator[str]:
    """The order in which columns come changes nothing."""
    before = trial.tensors(trial.own)
    for name in trial.spec.inputs:
        moved = {name: trial.own[name], **{other: values for other, values in reversed(list(trial.own.items())) if other != name}}
        if trial.fit(moved) != trial.encoder or _apart(trial.tensors(moved), before):
            yield f"with {name} as the first column its features are others: read columns by their names in features.py."
            return


def _nulls(trial: Trial) -> Iterator[str]:
    """A null that the dataset allows is scored."""
    nullable = [name for name in trial.spec.inputs if trial.dataset.column(name).nullable]
    where = f"which may be null in {trial.dataset.name}"
    filling = {name: next((row[name] for row in trial.rows if row.get(name) is not None), None) for name in nullable}
    known = [{**row, **{name: filling[name] if row.get(name) is None else row[name] for name in nullable}} for row in trial.rows]
    without_nulls = replace(trial, rows=known)
    if _not_scored(without_nulls, known):
        return  # no null is to blame
    for name in nullable:
        nulled = [{**row, name: None} if place % 2 else row for place, row in enumerate(known)]
        # The training rows may have had no null, or some.
        if why := _not_scored(without_nulls, nulled) or _not_scored(replace(trial, rows=nulled), nulled):
            yield f"without {name}, {where}, {why}: read it by numbers, text or times of perennial.encoding."
            return
    if nullable and (why := _not_scored(without_nulls, [{**row, **dict.fromkeys(nullable)} for row in known[:2]])):
        yield f"without {', '.join(nullable)} at once, {where}, {why}: see which of them needs another."


def _unseen(trial: Trial) -> Iterator[str]:
    """A category that the training rows did not have is scored."""
    for name in trial.named("string"):
        if why := _not_scored(trial, [{**row, name: NEVER_SEEN} for row in trial.rows]):
            yield f"with a value of {name} that no training row had {why}: encode it by Category of perennial.encoding, where it is 0."


def _strange(trial: Trial) -> Iterator[str]:
    """Any text and any list is scored: empty ones, words never seen, signs that cannot be seen."""
    for name in trial.named("text"):
        longest = trial.dataset.column(name).longest
        given = [{**row, name: value[:longest]} for row, value in zip(trial.rows, cycle(STRANGE_TEXTS), strict=False)]
        if why := _not_scored(trial, given):
            yield f"with a text of {name} that is empty or strange {why}: encode it by Words or Grams of perennial.encoding."
    for name in trial.named("list"):
        if why := _not_scored(trial, [{**row, name: []} for row in trial.rows]):
            yield f"with an empty list of {name} {why}: encode it by Series or Words of perennial.encoding."


def _alone(trial: Trial) -> Iterator[str]:
    """A row is scored alone as it is in a batch."""
    together = trial.tensors(trial.own)
    scores = trial.scores(together)
    for place in range(len(trial.rows)):
        alone = trial.tensors(_rows(trial.own, [place]))
        if _apart(alone, _rows(together, [place])):
            yield f"a row alone has other features than in a batch, by its column {_seen_by_others(trial, place)}: {_NO_BATCH}"
            return
        if not np.allclose(trial.scores(alone), scores[place : place + 1], rtol=CLOSE, atol=CLOSE):
            yield "a row alone has another score than in a batch, though its features are the same: let no layer of model.py mix rows."
            return


_NO_BATCH = "compute nothing over the rows that encode is given; what is learnt of rows belongs into fit."


def _seen_by_others(trial: Trial, place: int) -> str:
    """The column whose values in other rows change a row's features."""
    before = _rows(trial.tensors(trial.own), [place])
    rows = range(len(trial.rows))
    for name in trial.spec.inputs:
        for other in rows:  # all other rows get the value of one of them
            values = trial.own[name][[row if row == place else other for row in rows]]
            if _apart(_rows(trial.tensors({**trial.own, name: values}), [place]), before):
                return name
    return "which cannot be told"


def _zone(trial: Trial) -> Iterator[str]:
    """The same moment written in another zone, or read on a machine in another zone, gives the same features."""
    before = trial.tensors(trial.own)
    for name in trial.named("timestamp"):
        elsewhere = [{**row, name: _elsewhere(row.get(name), trial.dataset.time_zone)} for row in trial.rows]
        if _apart(trial.tensors(trial.columns(elsewhere)), before):
            yield f"the same moment of {name} in another time zone has other features: read it by times of perennial.encoding."
    with _machine_in(FAR_MACHINE):
        moved = _apart(trial.tensors(trial.columns(trial.rows)), before)
    if moved:
        names = ", ".join(trial.named("timestamp")) or "no column"
        yield f"on a machine in another time zone {names} has other features: no fromtimestamp, no timestamp() and no clock in features.py."


def _elsewhere(text: str | None, time_zone: str) -> str | None:
    """The moment of a time, written with the offset of a far zone."""
    if text is None:
        return None
    written = clock.moment(clock.wall_time(text, time_zone), time_zone).astimezone(ZoneInfo(FAR_ZONE)).isoformat()
    # In an hour that the clock skips, a time stands as it is written and no offset can say so.
    return written if clock.wall_time(written, time_zone) == clock.wall_time(text, time_zone) else text


@contextmanager
def _machine_in(zone: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def _huge(trial: Trial) -> Iterator[str]:
    """Whole numbers beyond 2^53 are scored, and a category of them is not taken for its neighbour, which float64 cannot tell apart."""
    for name in trial.named("int"):
        given = [{**row, name: value} for row, value in zip(trial.rows, cycle(HUGE), strict=False)]
        if why := _not_scored(trial, given):
            yield f"with {name} of {' and '.join(map(str, HUGE))} {why}: read it by numbers or Category of perennial.encoding."
        elif all(_told_apart(trial, name, *pair) for pair in FAR_APART) and not _told_apart(trial, name, EXACT, EXACT + 1):
            yield f"{name} is a category, and {EXACT} and {EXACT + 1} have one code: give the column to Category as it comes."


def _told_apart(trial: Trial, name: str, one: int, other: int) -> bool:
    """Whether codes (tensors of whole numbers) tell two fitted values of a column apart in rows that are else alike."""
    if all(values.dtype.kind not in "iu" for values in trial.tensors(_rows(trial.own, [0])).values()):
        return False
    columns = trial.columns([{**trial.rows[0], name: value} for value in (one, other)] * ROWS)
    codes = {tensor: values for tensor, values in trial.tensors(columns, trial.fit(columns)).items() if values.dtype.kind in "iu"}
    return _apart(_rows(codes, [0]), _rows(codes, [1]))


def _kinds(trial: Trial) -> Iterator[str]:
    """Features are the same whether a column comes as the table holds it or as a request does, and of a kind that the network takes."""
    before = trial.tensors(trial.own)
    for tensor, values in before.items():
        if values.dtype not in (np.float32, np.int64, *([np.dtype(object)] if trial.spec.learner == "sklearn" else [])):
            yield f"its tensor {tensor} is {values.dtype}: give float32, or int64 where it holds codes."
    for name in trial.spec.inputs:
        for kind, given, values in _as_others_give(trial.own[name], trial.dataset.column(name).type):
            try:
                other = trial.tensors({**trial.own, name: given})
            except Exception as error:  # noqa: BLE001 - it is a model's, and may be anything
                yield f"{name} as {kind} breaks its features with {type(error).__name__} ({error}): {_AS_IT_COMES}"
                break
            if _apart(other, trial.tensors({**trial.own, name: values})):
                yield f"{name} as {kind} has other features than as {trial.own[name].dtype}: {_AS_IT_COMES}"
                break


_AS_IT_COMES = "read it by numbers, text or times of perennial.encoding, which take every kind that tables and requests have."


def _as_others_give(values: np.ndarray, kind: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The same values as other arrays: a table with nulls has whole numbers as float64, a request its values as Python's.

    Yields the kind, the values as that kind, and as they came: of those that float32 has, where it is the kind.
    """
    if kind == "float":
        short = values.astype(np.float32)
        yield "float32", short, short.astype(values.dtype)
        yield "objects", np.array([value if value == value else None for value in values.tolist()], dtype=object), values  # noqa: PLR0124
    if kind == "int":
        whole = np.array([value == value for value in values.tolist()], dtype=bool)  # noqa: PLR0124 - all but NaN
        if whole.all():
            yield "int64", values.astype(np.int64), values
        known = [int(value) if is_known else None for value, is_known in zip(values.tolist(), whole, strict=True)]
        yield "objects", np.array(known, dtype=object), values
    if kind in ("list", "array"):  # a table gives arrays, the log of predictions lists
        lists = [value.tolist() if isinstance(value, np.ndarray) else value for value in values.tolist()]
        yield "lists", np.fromiter(lists, dtype=object, count=len(lists)), values
    if kind == "timestamp":
        yield "datetime64[us]", values.astype("datetime64[us]"), values


def _no_numbers(trial: Trial) -> Iterator[str]:
    """Infinity, numbers near the end of float64, and NaN where a null is allowed, are scored."""
    for name in trial.named("float"):
        given = (*NO_NUMBERS, math.nan) if trial.dataset.column(name).nullable else NO_NUMBERS
        values = np.fromiter(cycle(given), dtype=np.float64, count=len(trial.rows))
        with np.errstate(all="ignore"):  # what counts is what comes out
            why = _not_scored_columns(trial, {**trial.own, name: values})
        if why:
            yield f"with {name} of {', '.join(map(str, given))} {why}: read it by Number or Steps of perennial.encoding, which bound it."


def _many(trial: Trial) -> Iterator[str]:
    """A batch of 10,000 rows is scored as a few are; of rows with large features as many as make 256 MB."""
    few, rows = trial.tensors(trial.own), len(trial.rows)
    of_a_row = sum(values.nbytes for values in few.values()) // rows + 1
    places = np.arange(-(-min(MANY, max(rows, MOST_BYTES // of_a_row)) // rows) * rows) % rows
    try:
        tensors = trial.tensors(_rows(trial.own, places))
        scores = trial.scores(tensors)
    except Exception as error:  # noqa: BLE001 - it is a model's, and may be anything
        why = f"it breaks with {type(error).__name__} ({error})"
        yield f"in a batch of {len(places):,} rows {why}: let features.py and model.py take any number of rows."
        return
    if _apart(tensors, _rows(few, places)):
        yield f"in a batch of {len(places):,} rows a row has other features than in one of {rows}: {_NO_BATCH}"
    elif not np.allclose(scores, trial.scores(few)[places], rtol=CLOSE, atol=CLOSE):
        yield f"in a batch of {len(places):,} rows a row has another score than in one of {rows}: let no layer of model.py mix rows."


def _again(trial: Trial) -> Iterator[str]:
    """What is done twice gives the same twice."""
    tensors = trial.tensors(trial.own)
    if trial.fit(trial.own) != trial.encoder:
        yield f"fit learns something else when it is given the same rows again: {_NO_CHANCE}"
    elif _apart(trial.tensors(trial.own), tensors):
        yield f"the same rows have other features when they are encoded again: {_NO_CHANCE}"
    elif not np.allclose(trial.scores(tensors), trial.scores(tensors), rtol=CLOSE, atol=CLOSE):
        yield (
            "the same features have another score each time: in model.py draw random numbers only while it trains, as nn.Dropout does "
            "by itself and functional.dropout with training=self.training."
        )


_NO_CHANCE = "in features.py draw no random numbers and keep nothing from call to call."


def _label(trial: Trial) -> Iterator[str]:
    """The label is no input, and no column that is none changes a row's features once the encoder is fitted."""
    label = trial.spec.label
    if label in trial.spec.inputs:
        yield f"its inputs name its label {label}: it is not known when a prediction is asked for, so take it out of inputs."
        return
    others = [column.name for column in trial.dataset.columns if column.name not in trial.spec.inputs]
    made = columns_from_rows(rows_like(trial.spec, trial.dataset, len(trial.rows), seed=1, names=others), others) if others else {}
    before = trial.tensors(trial.own)
    for name in others:
        if _apart(trial.tensors({**trial.own, name: made[name]}), before):
            kind = "its label" if name == label else "no input"
            yield f"its features are others when they are given {name}, which is {kind}: let encode read the inputs alone."


def _onnx(trial: Trial) -> Iterator[str]:
    """The network can be written as ONNX, which computes the same scores, of one row and of many."""
    from perennial.training.export import TOLERANCE
    from perennial.training.scoring import open_session, run_session

    tensors = trial.tensors(trial.own)
    with TemporaryDirectory() as folder:
        try:
            trial.learned.write_onnx(file := Path(folder, "model.onnx"), _rows(tensors, [0, 1]))
            session = open_session(file)
            pairs = [(run_session(session, rows), trial.scores(rows)) for rows in (_rows(tensors, [0]), tensors)]
        except Exception as error:  # noqa: BLE001 - it is a model's, and may be anything
            yield f"its network cannot be written and run as ONNX, {type(error).__name__} ({_first_line(error)}): {_layers(trial)}"
            return
    for exported, expected in pairs:
        apart = float(np.abs(exported - expected).max()) if exported.shape == expected.shape else math.inf
        if not apart <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            yield f"ONNX and {trial.learned.framework} differ by {apart:.2g} on {_counted(len(expected))}: {_layers(trial)}"
            return


def _layers(trial: Trial) -> str:
    if trial.spec.learner != "lightning":
        return f"to be exported, {trial.learned.advice}."
    return "in model.py use layers that ONNX has, and let no shape and no branch of forward depend on how many rows there are."


def _counted(rows: int) -> str:
    return f"{rows} rows" if rows > 1 else "one row"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:200]


def _not_scored(trial: Trial, rows: Sequence[Row]) -> str:
    """Why rows have no finite scores, or nothing."""
    try:
        columns = trial.columns(rows)
    except Exception as error:  # noqa: BLE001 - rows of one's own may be no request
        return f"it breaks with {type(error).__name__} ({error})"
    return _not_scored_columns(trial, columns)


def _not_scored_columns(trial: Trial, columns: Columns) -> str:
    """Why columns have no finite scores, or nothing."""
    try:
        tensors = trial.tensors(columns)
        scores = trial.scores(tensors)
    except Exception as error:  # noqa: BLE001 - it is a model's, and may be anything
        return f"it breaks with {type(error).__name__} ({error})"
    raw = trial.spec.learner == "sklearn"  # whose estimators may take words, and fill in what is missing
    for name, values in (*(() if raw else tensors.items()), ("scores", scores)):
        if not np.isfinite(values).all():
            return f"it gives {name} that are not finite"
    return ""


def _rows(columns: Mapping[str, np.ndarray], places: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[list(places)] for name, values in columns.items()}


def _apart(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() != other.keys() or any(
        not np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one
    )


# One each: what it is called in a test's name, and what tries it.
PROMISES: dict[str, Callable[[Trial], Iterator[str]]] = {
    "column order": _order,
    "nulls": _nulls,
    "unseen categories": _unseen,
    "strange texts and lists": _strange,
    "a row alone": _alone,
    "time zone": _zone,
    "huge whole numbers": _huge,
    "kinds of columns": _kinds,
    "no numbers": _no_numbers,
    "ten thousand rows": _many,
    "the same again": _again,
    "label": _label,
    "ONNX": _onnx,
}
