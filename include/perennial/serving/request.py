"""Prediction requests and outcomes: what a caller may send. Everything else is refused with a sentence that names the field.

>>> from perennial.serving.request import read_outcome
>>> read_outcome("5f0c1b2a3d4e4f60a1b2c3d4e5f60718-0", "late", ["on time", "late"])
('5f0c1b2a3d4e4f60a1b2c3d4e5f60718-0', 1.0)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from perennial import clock, encoding
from perennial.classes import expected, outcome_number
from perennial.column_types import KINDS, ColumnKind, Unfit, cells, kind_of
from perennial.column_types import shown as _short
from perennial.forms import compared_name, joined_time, json_value, words
from perennial.online_values import Found, key_text
from perennial.specs import FileForm

MAX_ROWS = 10_000  # more belongs in several requests: one must not hold up a thread for seconds
MOST_FAULTS = 10  # fields of which the caller is told at once
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}")
_ROW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}-[0-9]{1,6}")  # of a request's id, a hyphen and the row's place
_TYPES: dict[str, tuple[frozenset[type], str]] = {
    "int": (frozenset({int}), "a whole number"),
    "float": (frozenset({int, float}), "a number"),
    "string": (frozenset({str}), "a string"),
    "timestamp": (frozenset({str}), f"a time like {clock.EXAMPLE}"),
    "bool": (frozenset({bool}), "true or false"),
}


class BadRequest(ValueError):
    """The request cannot be answered as it is; the message is one sentence for the caller."""


@dataclass(frozen=True)
class Input:
    """One field of a row, as `signature.json` describes it."""

    name: str
    type: str
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    values: frozenset[Any] | None = None
    of: str = ""  # what a list holds
    longest: int | None = None  # elements, characters or bytes; the type's own limit if None
    shape: tuple[int, ...] = ()  # of an array, or height and width of an image
    mode: str = ""  # of an image


@dataclass(frozen=True)
class Join:
    """Inputs that a request may leave to the server, which finds them by a key."""

    name: str
    values: str  # store key of the note on the values
    key: tuple[Input, ...]  # fields of a row
    columns: Mapping[str, str]  # each input, with the column that it is
    horizon_days: float

    @property
    def horizon(self) -> timedelta:
        """How old what is found may be at the row's moment."""
        return timedelta(days=self.horizon_days)


Finder = Callable[[Join, str, datetime], Found]  # what a key finds at a moment, wall time


@dataclass(frozen=True)
class Signature:
    """A version's signature, as its `signature.json` has it: which inputs a request must have."""

    inputs: tuple[Input, ...]
    strict: bool = False  # refuses fields that the version does not know, which are ignored otherwise
    time_zone: str = clock.UTC  # whose wall time the version's times are
    files: FileForm | None = None  # how texts of values are read, as in the files of its dataset; None if the dataset declares nothing
    joins: tuple[Join, ...] = ()
    moment: str = ""  # the field that has a row's event time, for joins

    @cached_property
    def by(self) -> frozenset[str]:
        """Fields by which joins find inputs; a row may have them though they are no inputs."""
        return frozenset([*(given.name for join in self.joins for given in join.key), *([self.moment] if self.joins else [])])

    @cached_property
    def names(self) -> frozenset[str]:
        """The inputs."""
        return frozenset(given.name for given in self.inputs)

    @cached_property
    def in_order(self) -> tuple[str, ...]:
        """The inputs, as they stand in the signature."""
        return tuple(given.name for given in self.inputs)

    @cached_property
    def values_of(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """The values of the inputs in a row that has them all. Raises KeyError."""
        names = self.in_order
        return itemgetter(*names) if len(names) > 1 else lambda row: tuple(row[name] for name in names)

    @cached_property
    def plain(self) -> _Plain:
        """Inputs that are numbers, texts or truth values, and what they may be."""
        return _Plain.of(self.inputs, self.files)

    @cached_property
    def form(self) -> FileForm:
        """How names are read: as in the files of its dataset, or as usual."""
        return self.files or FileForm()

    @cached_property
    def called(self) -> Mapping[str, str]:
        """Inputs by what files may call them, as names are compared."""
        called = {compared_name(called, self.form): column for column, called in self.form.fields.items()}
        return called | {compared_name(given.name, self.form): given.name for given in self.inputs}

    @cached_property
    def nested(self) -> Mapping[str, list[str]]:
        """Inputs that files have inside other fields, with the way to each."""
        return {column: called.split(".") for column, called in self.form.fields.items() if column in self.names and "." in called}

    @cached_property
    def outer(self) -> frozenset[str]:
        """Fields that are no inputs, but have some inside."""
        return frozenset(way[0] for way in self.nested.values()) - self.names


@dataclass(frozen=True)
class _Plain:
    """Inputs that are numbers, texts or truth values: those of a row are checked at once."""

    by_types: tuple[tuple[frozenset[type], tuple[str, ...]], ...]  # what their values may be, as JSON has them
    numbers: tuple[str, ...]  # whole ones first
    whole: int  # how many these are
    least: np.ndarray  # [numbers, 1]
    most: np.ndarray
    texts: tuple[str, ...]  # truth values among them

    @staticmethod
    def of(inputs: Sequence[Input], form: FileForm | None) -> _Plain:
        """Those of a signature. One that may have some values only, or not all texts, is looked at by itself."""
        plain = [given for given in inputs if given.values is None]
        numbers = [given for kind in ("int", "float") for given in plain if given.type == kind]
        texts = [given for given in plain if given.type == "bool" or (given.type == "string" and not (form and form.nulls))]
        by_types: dict[frozenset[type], list[str]] = {}
        for given in (*numbers, *texts):  # JSON knows one kind of number, and many callers write 2008.0
            types = _TYPES["float" if given.type == "int" else given.type][0]
            by_types.setdefault(types | {type(None)} if given.nullable else types, []).append(given.name)
        largest = [math.nextafter(encoding.EXACT, 0) if given.type == "int" else np.finfo(np.float64).max for given in numbers]
        least = [max(-most, -math.inf if given.min is None else given.min) for given, most in zip(numbers, largest, strict=True)]
        most = [min(most, math.inf if given.max is None else given.max) for given, most in zip(numbers, largest, strict=True)]
        return _Plain(
            tuple((types, tuple(names)) for types, names in by_types.items()),
            tuple(given.name for given in numbers),
            sum(given.type == "int" for given in numbers),
            np.array(least, dtype=np.float64)[:, None],
            np.array(most, dtype=np.float64)[:, None],
            tuple(given.name for given in texts),
        )


@dataclass(frozen=True)
class Request:
    """A prediction request: checked columns by name, and rows that have the version's inputs and nothing else."""

    columns: dict[str, np.ndarray]
    rows: Sequence[Mapping[str, Any]]
    id: str | None = None
    event_time: str | None = None
    ignored: tuple[str, ...] = ()  # fields that the version does not know
    found: Mapping[int, Mapping[str, Found]] = field(default_factory=dict)  # what joins found for a row, by its place and their name


def read_signature(document: Mapping[str, Any]) -> Signature:
    """The content of a `signature.json`; what an older release did not write has its default.

    Raises ValueError for an unknown type, zone or form of files.
    """
    inputs = tuple(
        Input(
            **{
                **given,
                "values": frozenset(given["values"]) if given.get("values") is not None else None,
                "shape": tuple(given.get("shape", ())),
            }
        )
        for given in document["inputs"]
    )
    for given in inputs:
        if given.type not in (known := (*_TYPES, *KINDS)):
            raise ValueError(f"signature.json gives {given.name} the type {given.type!r}: known are {', '.join(known)}")
    time_zone = str(document.get("time_zone", clock.UTC))
    clock.zone(time_zone)
    form = FileForm(**document["files"]) if document.get("files") else None
    joins = tuple(Join(**{**join, "key": tuple(Input(**given) for given in join["key"])}) for join in document.get("joins", ()))
    return Signature(inputs, bool(document.get("strict", False)), time_zone, form, joins, str(document.get("moment", "")))


def parse(body: bytes | str, example: str) -> dict[str, Any]:
    """The JSON object of a request body, which should look like the example. Raises BadRequest."""
    if not body:
        raise BadRequest("The request has no body: send JSON with the header Content-Type: application/json.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}. NaN and infinity are not JSON either.") from None
    if not isinstance(document, dict):
        raise BadRequest(f"The body must be a JSON object like {example}.")
    return document


def read_request(body: bytes | str, signature: Signature, max_rows: int = MAX_ROWS, finder: Finder | None = None) -> Request:
    """Check a prediction request in Seldon's form against a version's signature, by the rules of `checked`.

    Raises:
        BadRequest: it is no JSON, has no rows or too many, or does not fit.
    """
    document = parse(body, '{"data": {"rows": [{...}]}}')
    return checked(_rows(document.get("data"), max_rows), document.get("meta"), signature, finder)


def checked(
    rows: Sequence[Any],
    meta: object,
    signature: Signature,
    finder: Finder | None = None,
    named: tuple[str, str] = ("meta.puid", "meta.tags.event_time"),
    by_input: Mapping[str, Sequence[Any]] | None = None,
) -> Request:
    """Rows as JSON has them against a version's signature, whichever way they were sent.

    A field that the version does not know is ignored and named, a nullable one that a row lacks is null: callers of a version with more
    inputs, or with fewer, are answered too. Where the version's dataset declares how its files are written, texts of values and names of
    fields are read as in its files; numbers, true and false mean what they are. What joins bring is taken from the row where it has one of
    their columns; else it is found by the row's key, at the row's event time, or that of the request, or now.

    `meta` may have a `puid` and, in `tags`, an `event_time`; `named` says what callers call these. `by_input` has the values of each input
    where they are known, and the rows have nothing else.

    Raises:
        BadRequest: a row lacks a field that must not be null, has a value that does not fit or, where the signature is strict, an unknown
            field. The first of each kind and field is told, ten at most.
    """
    ignored: set[str] = set()
    faults: dict[str, str] = {}  # the first by what is wrong, in the order of their rows and fields
    fitted: list[dict[str, Any]]
    places: Sequence[int]
    found: dict[int, dict[str, Found]] = {}
    faults_of_meta: dict[str, str] = {}
    puid, event_time = _meta_or_fault(meta, signature, faults_of_meta, named)

    def look(place: int, row: dict[str, Any]) -> None:
        if finder:
            found[place] = _found(place, row, signature, finder, event_time, faults)

    whole = by_input or _by_input(rows, signature)
    if whole:
        fitted, places = list(rows), range(len(rows))
    else:
        fitted, places = [], []
        for place, row in enumerate(rows):
            if not isinstance(row, dict):
                faults.setdefault("row", f"Row {place} is not an object of field names and values.")
                continue
            fitted.append(row if row.keys() == signature.names else _fitted(place, row, signature, ignored, faults, look))
            places.append(place)
        whole = _by_input(fitted, signature)
    if signature.files and _read_texts(fitted, signature.inputs, signature.files):
        whole = _by_input(fitted, signature)
    plain = _plain_columns(whole, signature) if whole else {}
    columns: dict[str, np.ndarray] = {}
    for given in signature.inputs:
        if given.name in plain:
            columns[given.name] = plain[given.name]
            continue
        present = range(len(fitted)) if whole else [number for number, row in enumerate(fitted) if given.name in row]
        if not present:
            continue
        try:
            values = whole[given.name] if whole else [fitted[number][given.name] for number in present]
            columns[given.name] = _column(given, values, signature)
        except _Misfit as misfit:
            faults[f"value {given.name}"] = f"Row {places[present[misfit.place]]}: {given.name} {misfit.why}."
    faults |= faults_of_meta
    if faults:
        raise BadRequest(" ".join([*faults.values()][:MOST_FAULTS]))
    return Request(columns, fitted, puid, event_time, tuple(sorted(ignored)), found)


@dataclass(frozen=True)
class _Misfit(Exception):
    """A value that does not fit its field."""

    place: int  # in its column
    why: str  # as it is said of the field


def _by_input(rows: Sequence[Any], signature: Signature) -> Mapping[str, Sequence[Any]]:
    """The values of each input; nothing unless every row is an object of the inputs and nothing else."""
    if {*map(type, rows)} != {dict} or {*map(len, rows)} != {len(signature.inputs)}:
        return {}
    try:
        return dict(zip(signature.in_order, zip(*map(signature.values_of, rows), strict=True), strict=True))
    except KeyError:
        return {}


def _rows(data: object, max_rows: int) -> list[Any]:
    if not isinstance(data, dict):
        raise BadRequest('The request has no data: send {"data": {"rows": [{...}]}}.')
    if "rows" in data:
        rows = data["rows"]
        if not isinstance(rows, list):
            raise BadRequest("data.rows must be a list of rows.")
    elif "ndarray" in data:
        names, values = data.get("names"), data["ndarray"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadRequest("data.names must list the field names in the order of data.ndarray's columns.")
        if len(set(names)) != len(names):
            raise BadRequest(f"data.names names {_short(Counter(names).most_common(1)[0][0])} twice.")
        if not isinstance(values, list):
            raise BadRequest("data.ndarray must be a list of rows.")
        for place, row in enumerate(values[: max_rows + 1]):
            if not isinstance(row, list) or len(row) != len(names):
                raise BadRequest(f"Row {place} of data.ndarray must be a list of {len(names)} values, one for each of data.names.")
        rows = [dict(zip(names, row, strict=True)) for row in values[: max_rows + 1]]
    else:
        raise BadRequest("data has neither rows nor ndarray: one of them must hold the rows.")
    refuse_count(len(rows), max_rows)
    return rows


def refuse_count(rows: int, max_rows: int = MAX_ROWS) -> None:
    """Raises BadRequest where a request has no rows or too many."""
    if not rows:
        raise BadRequest("The request has no rows: send at least one.")
    if rows > max_rows:
        raise BadRequest(f"The request has more than {max_rows} rows: send them in several requests.")


def _found(
    place: int, row: dict[str, Any], signature: Signature, finder: Finder, event_time: str | None, faults: dict[str, str]
) -> dict[str, Found]:
    """What joins find for a row that has none of their columns, by their name; the columns are put into the row."""
    found: dict[str, Found] = {}
    joins = [join for join in signature.joins if not join.columns.keys() & row.keys()]
    if not joins:
        return found
    try:
        moment = _row_moment(row, signature, event_time)
        for join in joins:
            key = [_key_value(row.get(given.name), given, signature) for given in join.key]
            has_key = None not in key
            found[join.name] = one = finder(join, key_text(key), moment) if has_key else Found("no_key")
            row |= {name: one.values.get(there) for name, there in join.columns.items()}
    except _UnfitKey as unfit:
        faults.setdefault(f"value {unfit.name}", f"Row {place}: {unfit.name} {unfit.why}.")
    return found


@dataclass(frozen=True)
class _UnfitKey(Exception):
    """A value by which nothing can be found."""

    name: str
    why: str


def _row_moment(row: Mapping[str, Any], signature: Signature, event_time: str | None) -> datetime:
    """A row's moment, as wall time: its own event time, or that of the request, or now."""
    own = _key_value(row.get(signature.moment), Input(signature.moment, "timestamp"), signature)
    if isinstance(own, datetime):
        return own
    local = clock.zone(signature.time_zone)
    when = datetime.fromisoformat(event_time) if event_time else datetime.now(timezone.utc)
    return when.astimezone(local).replace(tzinfo=None)


def _key_value(value: object, given: Input, signature: Signature) -> object:
    """The value of a field of a key in its one form. Raises _UnfitKey where it is of another type."""
    if signature.files and isinstance(value, str) and given.type != "string":
        value = json_value(value, given.type, signature.files)
    if given.type == "int" and type(value) is float and value.is_integer() and abs(value) < encoding.EXACT:
        value = int(value)
    allowed, wanted = _TYPES[given.type]
    if value is not None and type(value) not in allowed:
        raise _UnfitKey(given.name, f"must be {wanted}, not {_short(value)}")
    if given.type == "timestamp" and isinstance(value, str):
        try:
            return clock.wall_time(value, signature.time_zone)
        except ValueError:
            raise _UnfitKey(given.name, f"must be {wanted}, not {_short(value)}") from None
    return value


def _fitted(
    place: int,
    row: Mapping[str, Any],
    signature: Signature,
    ignored: set[str],
    faults: dict[str, str],
    look: Callable[[int, dict[str, Any]], None],
) -> dict[str, Any]:
    """A row reduced to the version's fields, null where it lacks one; others are added to `ignored`, what is wrong to `faults`. `look` adds
    what joins find."""
    row = _under_input_names(place, row, signature, faults)
    look(place, row)
    unknown = row.keys() - signature.names - signature.by
    if unknown and signature.strict:
        fields = ", ".join(given.name for given in signature.inputs)
        faults.setdefault("unknown", f"Row {place} has the unknown field {_short(min(unknown))}: the fields are {fields}.")
    for given in signature.inputs:
        if given.name not in row and given.nullable:
            row[given.name] = None
        elif given.name not in row:
            faults.setdefault(f"lacks {given.name}", f"Row {place} lacks the field {given.name}.")
    ignored |= unknown
    return {given.name: row[given.name] for given in signature.inputs if given.name in row}


def _under_input_names(place: int, row: Mapping[str, Any], signature: Signature, faults: dict[str, str]) -> dict[str, Any]:
    """A row with the fields that its dataset's files may call otherwise, or have nested or in two parts, under the names of the inputs."""
    named: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for name, value in row.items():
        means = name if name in signature.names else signature.called.get(compared_name(name, signature.form), name)
        if means in named:
            other = name if name != means else spelled[means]
            faults.setdefault(f"twice {means}", f"Row {place} has the field {_short(means)} twice, also as {_short(other)}.")
        elif name not in signature.outer or not isinstance(value, dict):
            named[means], spelled[means] = value, name
    for column, way in signature.nested.items():
        inner: Any = row
        for step in way:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if inner is not None:
            named.setdefault(column, inner)
    for column, (day, hour) in signature.form.time_of.items():
        if column not in named and isinstance(row.get(day), str) and isinstance(row.get(hour), (str, int, float)):
            named[column] = joined_time(row[day], str(row[hour]))
            for part in {day, hour} - signature.names:
                named.pop(part, None)
    return named


def _read_texts(rows: Sequence[dict[str, Any]], inputs: Sequence[Input], form: FileForm) -> bool:
    """Put the value that a text of a file's form means in its place; texts of text columns, and those that mean none, stay. Whether any is
    another now."""
    changed = False
    for given in inputs:
        if given.type in ("int", "float", "bool", "timestamp"):
            may_count = given.type == "timestamp"  # JSON's own values are as they are, but for times that count from 1970
            for row in rows:
                if isinstance(value := row.get(given.name), str) or (may_count and value is not None):
                    row[given.name] = read = json_value(value, given.type, form)
                    changed = changed or read is not value
    return changed


def _plain_columns(values: Mapping[str, Sequence[Any]], signature: Signature) -> dict[str, np.ndarray]:
    """The columns of all numbers, texts and truth values, where each is as it should be; nothing where one must be looked at closer."""
    plain = signature.plain
    for types, names in plain.by_types:
        if not {*map(type, chain.from_iterable(values[name] for name in names))} <= types:
            return {}
    columns: dict[str, np.ndarray] = {}
    if plain.numbers:
        table = np.array([values[name] for name in plain.numbers], dtype=np.float64)  # null becomes NaN, which fits no bounds
        fits = (table >= plain.least) & (table <= plain.most)
        if plain.whole:
            wholes = table[: plain.whole]
            fits[: plain.whole] &= wholes == np.floor(wholes)
            wholes += 0.0  # -0.0 is the whole number 0
        misfits = fits.size - np.count_nonzero(fits)
        if misfits and misfits != sum(values[name].count(None) for name in plain.numbers):
            return {}
        columns.update(zip(plain.numbers, table, strict=True))
    if plain.texts:
        columns.update(zip(plain.texts, np.array([values[name] for name in plain.texts], dtype=object), strict=True))
    return columns


def _column(given: Input, values: Sequence[Any], signature: Signature) -> np.ndarray:
    if kind := kind_of(given.type):
        return _cells(given, kind, values)
    (allowed, wanted), form = _TYPES[given.type], signature.files
    if given.type == "int":  # JSON knows one kind of number, and many callers write 2008.0
        values = encoding.without_points(values)
    types = set(map(type, values))
    if not types <= (allowed | {type(None)} if given.nullable else allowed):
        for place, value in enumerate(values):
            if value is None and not given.nullable:
                raise _Misfit(place, "must not be null")
            if given.type == "int" and type(value) is float and value.is_integer():
                raise _Misfit(
                    place,
                    f"is {_short(value)}: from 2^53 on a number with a point or an exponent is not exact. Write all its digits",
                )
            if value is not None and type(value) not in allowed:
                raise _Misfit(place, f"must be {wanted}, not {_short(value)}{_as_in_files(value, form)}")
    _refuse_words(given, values, form)
    if given.type in ("string", "bool"):
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    if given.type == "timestamp":
        return _times(values, signature)
    return _numbers(given, values)


def _refuse_words(given: Input, values: Sequence[Any], form: FileForm | None) -> None:
    """Raises _Misfit where a value is none of those that the input may have, or a text that means that there is no value."""
    if given.values is not None and not set(values) - {None} <= given.values:
        for place, value in enumerate(values):
            if value is not None and value not in given.values:
                raise _Misfit(place, f"is {_short(value)}: it must be one of {', '.join(map(str, sorted(given.values)))}")
    if form and given.type == "string" and given.nullable and not set(values).isdisjoint(form.nulls):
        for place, value in enumerate(values):
            if value in form.nulls:
                raise _Misfit(place, f"is {_short(value)}, a word for a missing value in the files of its dataset: send null")


def _cells(given: Input, kind: ColumnKind, values: Sequence[Any]) -> np.ndarray:
    """A column of a type that is no scalar; null is None."""
    made = []
    for place, value in enumerate(values):
        if value is None and not given.nullable:
            raise _Misfit(place, "must not be null")
        try:
            made.append(None if value is None else kind.value(value, given))
        except Unfit as unfit:
            raise _Misfit(place, f"{unfit}") from None
    return cells(made)


def _numbers(given: Input, values: Sequence[Any]) -> np.ndarray:
    column = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    known = np.array([value is not None for value in values]) if given.nullable else np.ones(len(values), dtype=bool)
    for fault, sentence in (
        (~np.isfinite(column), "must be finite"),
        (
            column < given.min if given.min is not None else None,
            f"is below {given.min:.16g}, the least it can be" if given.min is not None else "",
        ),
        (
            column > given.max if given.max is not None else None,
            f"is above {given.max:.16g}, the most it can be" if given.max is not None else "",
        ),
    ):
        if fault is not None and (fault & known).any():
            place = int(np.argmax(fault & known))
            raise _Misfit(place, f"is {_short(values[place])}: it {sentence}")
    if given.type == "int" and (np.abs(column) >= encoding.EXACT).any():
        for place, value in enumerate(values):
            if value is not None and not -(2**63) <= value < 2**63:
                raise _Misfit(place, f"is {_short(value)}: whole numbers have at most 64 bits, -2^63 to 2^63 - 1")
        return encoding.whole_numbers(values)
    return column


def _times(values: Sequence[Any], signature: Signature) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    try:
        return encoding.times(column, signature.time_zone)
    except ValueError:
        for place, value in enumerate(values):
            try:
                encoding.times(column[place : place + 1], signature.time_zone)
            except ValueError:
                wanted = _TYPES["timestamp"][1]
                raise _Misfit(place, f"must be {wanted}, not {_short(value)}{_as_in_files(value, signature.files)}") from None
        raise


def _as_in_files(value: object, form: FileForm | None) -> str:
    """How else a text may be written, if the dataset of the version declares it."""
    return f" (texts are read as in files: {words(form)})" if form and isinstance(value, str) else ""


def _meta_or_fault(meta: object, signature: Signature, faults: dict[str, str], named: tuple[str, str]) -> tuple[str | None, str | None]:
    """The id and the event time of a request; what is wrong with them is added to `faults`."""
    try:
        return _meta(meta, signature, *named)
    except BadRequest as fault:
        faults["meta"] = str(fault)
        return None, None


def _meta(meta: object, signature: Signature, puid_is: str, event_time_is: str) -> tuple[str | None, str | None]:
    if meta is None:
        return None, None
    if not isinstance(meta, dict):
        raise BadRequest("meta must be an object.")
    puid = meta.get("puid")
    if puid is not None and not (isinstance(puid, str) and _ID.fullmatch(puid)):
        raise BadRequest(
            f"{puid_is} is {_short(puid)}: an id has 1 to 128 letters, digits and the signs . _ : - and begins with a letter or digit."
        )
    tags = meta.get("tags")
    if tags is not None and not isinstance(tags, dict):
        raise BadRequest("meta.tags must be an object.")
    event_time = (tags or {}).get("event_time")
    return puid, None if event_time is None else _moment(event_time, signature, event_time_is)


def _moment(value: object, signature: Signature, field: str) -> str:
    """A moment in ISO 8601 and UTC."""
    time_zone = signature.time_zone
    if signature.files:
        value = json_value(value, "timestamp", signature.files)
    if isinstance(value, str):
        try:
            return clock.moment(clock.wall_time(value, time_zone), time_zone).isoformat()
        except ValueError:
            pass  # said below
    raise BadRequest(f"{field} must be {_TYPES['timestamp'][1]}, not {_short(value)}.")


def read_feedback(body: bytes | str, classes: Sequence[str]) -> tuple[str, float]:
    """The prediction id and the outcome of a feedback message, in whichever of Seldon's forms.

    Raises:
        BadRequest: it is no JSON, or the id or the outcome is missing or does not fit the model.
    """
    document = parse(body, '{"response": {"meta": {"puid": "..."}}, "truth": {"data": {"ndarray": [[1]]}}}')
    truth = document.get("truth")
    data = _inside(truth, "data")
    forms = (_inside(truth, "strData"), _inside(data, "ndarray"), _inside(_inside(data, "tensor"), "values"))
    given = next((form for form in forms if form not in (None, "", [])), None)
    return read_outcome(_inside(_inside(document.get("response"), "meta"), "puid"), given, classes)


def _inside(message: object, name: str) -> object:
    return message.get(name) if isinstance(message, dict) else None


def read_outcome(puid: object, truth: object, classes: Sequence[str]) -> tuple[str, float]:
    """The id of the prediction row and the outcome by the rule of `perennial.classes`: a class's place, or a regression's number.

    Raises:
        BadRequest: the id or the outcome is missing or does not fit the model.
    """
    if not (isinstance(puid, str) and _ROW_ID.fullmatch(puid)):
        raise BadRequest(
            f"response.meta.puid is {_short(puid)}: it must be the id of a prediction row, which is the id of the answer, "
            "a hyphen and the row's place from 0, like 5f0c…-0."
        )
    while isinstance(truth, (list, tuple)) and len(truth) == 1:
        truth = truth[0]
    outcome = outcome_number(truth, classes)
    if outcome is None:
        example = orjson.dumps({"truth": {"data": {"ndarray": [[classes[-1] if classes else 1.5]]}}}).decode()
        what = "The feedback has no outcome" if truth is None else f"The outcome is {_short(truth)}"
        raise BadRequest(f"{what}: it must be {expected(classes)}, like {example}.")
    return puid, outcome
