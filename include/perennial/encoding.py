"""Columns in, tensors out: a declarative encoder that is fitted once, written as JSON and used alike in training and serving.

An encoder is a list of parts for each tensor. A part reads one column (a `Block` several), turns every row into the same
number of values and never fails on a null or an unseen category. Only numpy is needed, 1.26 or newer.

    >>> columns = {"distance": np.array([100.0, 300.0]), "minute": np.array([0, 720]), "carrier": np.array(["AA", "UA"])}
    >>> numbers = [Number.fit(columns, "distance"), Cycle("minute", 1440)]
    >>> encoder = Encoder({"numbers": numbers, "categories": [Category.fit(columns, "carrier")]})
    >>> {name: tensor.shape for name, tensor in encoder.encode(columns).items()}
    {'numbers': (2, 3), 'categories': (2, 1)}
"""

from __future__ import annotations

import itertools
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar, get_args
from zlib import crc32

import numpy as np
import numpy.typing as npt

from perennial import clock, pictures
from perennial.tokens import words_of

Columns = Mapping[str, np.ndarray]
Array = npt.NDArray[Any]
Found = TypeVar("Found")
Fitted = TypeVar("Fitted")

EXACT = 2**53  # up to here float64 tells whole numbers apart
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")  # texts that are truth values, in whatever case


def text(value: object) -> str | None:
    """A category's name: null and NaN are None, a whole float is written as the integer that it is."""
    if value is None or value != value:  # noqa: PLR0124  NaN and NaT alone differ from themselves
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def numbers(values: Array) -> npt.NDArray[np.float64]:
    """A column as float64, null as NaN. Raises ValueError where a value is no number."""
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    return np.array([np.nan if text(value) is None else float(value) for value in values.tolist()], dtype=np.float64)


def times(values: Array, time_zone: str = clock.UTC) -> npt.NDArray[np.datetime64]:
    """A column as datetime64[s], null as NaT. Texts are read by the rule of `clock`, as wall times of `time_zone`.

    Raises ValueError where a value is no time.
    """
    if values.dtype.kind == "M":
        return values.astype("datetime64[s]")
    given = values.tolist()
    known = [value for value in given if value is not None]
    if clock.are_plain(known):  # numpy means the same by these, a hundred at a time as by one
        try:
            return np.array(["NaT" if value is None else value for value in given], dtype="datetime64[s]")
        except ValueError:  # no day of the calendar, which is said below
            pass
    return np.array([_time(value, time_zone) for value in given], dtype="datetime64[s]")


def _time(value: object, time_zone: str) -> np.datetime64:
    if value is None or value != value:  # noqa: PLR0124
        return np.datetime64("NaT", "s")
    when = clock.wall_time(value, time_zone) if isinstance(value, str) else value
    if isinstance(when, datetime) and when.tzinfo:
        when = when.astimezone(clock.zone(time_zone)).replace(tzinfo=None)
    if not isinstance(when, (date, np.datetime64)):
        raise ValueError(f"{value!r} is no time")
    return np.datetime64(when.isoformat() if isinstance(when, date) else str(when), "s")


def hours(values: Array) -> npt.NDArray[np.float64]:
    """The hour of the day of each time, 0 to 24 with its fractions; NaN where there is no time. Raises ValueError where a value is none."""
    when = times(values)
    known = ~np.isnat(when)
    since = np.where(known, when - when.astype("datetime64[D]"), np.timedelta64(0, "s"))
    return np.where(known, since.astype("timedelta64[s]").astype(np.float64) / 3600, np.nan)


def weekdays(values: Array) -> npt.NDArray[np.float64]:
    """The day of the week of each time, Monday 0; NaN where there is no time. Raises ValueError where a value is none."""
    when = times(values)
    days = when.astype("datetime64[D]").astype(np.int64)
    return np.where(np.isnat(when), np.nan, (days + 3) % 7)  # 1970-01-01 was a Thursday


def without_points(values: Sequence[Any]) -> list[Any]:
    """Values of JSON, of which those that are written like 2.0 are whole numbers, as far as these are exact; all others as they are."""
    return [int(value) if type(value) is float and value.is_integer() and abs(value) < EXACT else value for value in values]


def whole_numbers(values: Sequence[int | None]) -> Array:
    """A column of whole numbers as training and serving hand it to features.

    float64 with null as NaN where that is exact, so up to 2^53 either way; else int64, or with nulls Python's whole numbers and None.
    """
    known = [value for value in values if value is not None]
    if not known or max(map(abs, known)) <= EXACT:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    if len(known) == len(values):
        return np.array(values, dtype=np.int64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def columns_from_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Request rows as columns of Python objects; a name that a row lacks is None there."""
    columns = {}
    for name in names:
        columns[name] = np.fromiter((row.get(name) for row in rows), dtype=object, count=len(rows))  # a list in a row stays one
    return columns


def rows_from_columns(columns: Columns, names: Sequence[str]) -> list[dict[str, Any]]:
    """Columns as request rows that strict JSON can carry: null is None, a time is ISO 8601, bytes are base64."""
    lists = [[_plain(value) for value in _objects(columns[name])] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def _objects(values: Array) -> list[Any]:
    objects: list[Any] = (values.astype("datetime64[s]") if values.dtype.kind == "M" else values).tolist()
    return objects


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, list)):
        return [_plain(element) for element in value]
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if value is None or value != value:  # noqa: PLR0124
        return None
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


class Gathering(Protocol):
    """Fits parts to rows of which not all are in memory (`training/fitting.py`)."""

    def fitted(self, gather: Callable[[], Any], of: Callable[[Any], Fitted]) -> Fitted:
        """The part that `of` makes of what `gather` found in rows: counts by name, which can be added, or an array of numbers."""


GATHERING: ContextVar[Gathering | None] = ContextVar("gathering", default=None)


def _fitted(gather: Callable[[], Found], of: Callable[[Found], Fitted]) -> Fitted:
    gathering = GATHERING.get()
    return of(gather()) if gathering is None else gathering.fitted(gather, of)


@dataclass(frozen=True)
class Category:
    """A category as its place in `values`, counted from 1; 0 for null and for what the training split did not have. int64."""

    kind: ClassVar[str] = "category"
    width: ClassVar[int] = 1
    column: str
    values: tuple[str, ...]

    @classmethod
    def fit(cls, columns: Columns, column: str, min_rows: int = 1) -> Category:
        """Keep the categories that at least `min_rows` rows have, in alphabetical order."""

        def of(counts: Counter[str | None]) -> Category:
            return cls(column, tuple(sorted(name for name, rows in counts.items() if name is not None and rows >= min_rows)))

        return _fitted(lambda: Counter(map(text, columns[column].tolist())), of)

    @property
    def size(self) -> int:
        """Number of different codes, the unknown one included."""
        return len(self.values) + 1

    @cached_property
    def _places(self) -> dict[str | None, int]:
        return {name: place for place, name in enumerate(self.values, 1)}

    def encode(self, columns: Columns) -> Array:
        """int64 [rows, 1]."""
        values, places = columns[self.column].tolist(), self._places
        types = {*map(type, values)} - {type(None)}
        if types <= {str}:
            codes: Iterable[int] = map(places.get, values, itertools.repeat(0))
        elif types <= {float} or types <= {int}:  # of one type: 1 and True are equal and have two names
            code_of = {value: places.get(text(value), 0) for value in set(values)}
            codes = map(code_of.__getitem__, values)
        else:
            codes = (places.get(text(value), 0) for value in values)
        return np.fromiter(codes, dtype=np.int64, count=len(values))[:, None]


@dataclass(frozen=True)
class Number:
    """A number in standard deviations from its mean, cut at `limit` of them; null is 0 and, if `nulls`, a second value of 1. float32."""

    kind: ClassVar[str] = "number"
    column: str
    mean: float
    deviation: float
    limit: float = 8.0
    nulls: bool = False

    @classmethod
    def fit(cls, columns: Columns, column: str, *, nulls: bool = False, limit: float = 8.0) -> Number:
        """Mean and standard deviation of the rows that have the number."""
        return _fitted(lambda: _known(columns, column), lambda known: cls(column, *_mean_and_deviation(known), limit, nulls))

    @property
    def width(self) -> int:
        """Values per row."""
        return 2 if self.nulls else 1

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, width]."""
        values = _bounded(numbers(columns[self.column]))
        null = np.isnan(values)
        scaled = np.clip((np.where(null, self.mean, values) - self.mean) / self.deviation, -self.limit, self.limit)
        return _float32(np.stack([scaled, null], axis=1) if self.nulls else scaled[:, None])


@dataclass(frozen=True)
class Steps:
    """A number as how far it has passed each interval between `edges`, 0 to 1; then 1 if it is null, where all else is 0. float32.

    The piecewise linear encoding of Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning" (2022), 3.2.
    """

    kind: ClassVar[str] = "steps"
    column: str
    edges: tuple[float, ...]

    @classmethod
    def fit(cls, columns: Columns, column: str, intervals: int = 16) -> Steps:
        """Edges at equal shares of the known rows; fewer where values repeat."""

        def of(known: npt.NDArray[np.float64]) -> Steps:
            quantiles = np.unique(np.quantile(known, np.linspace(0, 1, intervals + 1))).tolist() if known.size else [0.0]
            edges = quantiles[:1]
            for edge in quantiles[1:]:
                if edge - edges[-1] > _least(edge):
                    edges.append(edge)
            return cls(column, tuple(edges) if len(edges) > 1 else (edges[0], edges[0] + max(1.0, 2 * _least(edges[0]))))

        return _fitted(lambda: _known(columns, column), of)

    @property
    def width(self) -> int:
        """Values per row."""
        return len(self.edges)

    @cached_property
    def _alone(self) -> _StepsTogether:
        return _StepsTogether((self,))

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, width]."""
        return self._alone.encode(columns)


class _StepsTogether:
    """Several `Steps` side by side in one array: a handful of passes over it in place of ten for each of them."""

    rows: ClassVar[int] = 256  # of a pass: so many fit into a processor's cache

    def __init__(self, parts: Sequence[Steps]) -> None:
        self.columns = [part.column for part in parts]
        self.width = sum(part.width for part in parts)
        self._first = np.array([[part.edges[0]] for part in parts])
        self._of = np.repeat(np.arange(len(parts)), [part.width for part in parts])  # whose each value of a row is
        self._nulls = np.cumsum([part.width for part in parts]) - 1  # where they say that a number is null
        self._begins = np.concatenate([np.append(part.edges[:-1], 0.0) for part in parts])[:, None]
        self._lengths = np.concatenate([np.append(np.diff(part.edges), 1.0) for part in parts])[:, None]

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, width]."""
        given = np.array([numbers(columns[name]) for name in self.columns])
        made = np.empty((given.shape[1], self.width), dtype=np.float32)
        for begin in range(0, len(made), self.rows):
            values = _bounded(given[:, begin : begin + self.rows])
            null = np.isnan(values)
            passed = np.where(null, self._first, values)[self._of]
            passed -= self._begins
            passed /= self._lengths
            np.clip(passed, 0, 1, out=passed)
            passed[self._nulls] = null
            made[begin : begin + self.rows] = passed.T
        return made


@dataclass(frozen=True)
class Cycle:
    """A number that comes round, such as the hour of a day, as sine and cosine of `harmonics` frequencies; null is 0. float32."""

    kind: ClassVar[str] = "cycle"
    column: str
    period: float
    harmonics: int = 1

    @property
    def width(self) -> int:
        """Values per row."""
        return 2 * self.harmonics

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, width]."""
        values = _bounded(numbers(columns[self.column]))
        angles = (values * (2 * np.pi / self.period))[:, None] * np.arange(1, self.harmonics + 1)
        return _float32(np.nan_to_num(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), nan=0.0))


@dataclass(frozen=True)
class Block:
    """Many columns as one array of `shape` (without rows), (value - offset) / scale, null as 0: pixels, spectra. float32.

    The only part of its tensor.
    """

    kind: ClassVar[str] = "block"
    columns: tuple[str, ...]
    shape: tuple[int, ...]
    offset: float = 0.0
    scale: float = 1.0

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, *shape]."""
        values = np.stack([_bounded(numbers(columns[name])) for name in self.columns], axis=1)
        scaled = np.nan_to_num((values - self.offset) / self.scale, nan=0.0)
        return _float32(scaled.reshape(len(values), *self.shape))


@dataclass(frozen=True)
class Series:
    """A list of numbers as `length` values, padded at the end: those of the list in standard deviations, and which of them there are.

    The only part of its tensor. Of a longer list the first elements count, or the last ones with `last`. An element that is no finite
    number and a null list are as if they were not there.
    """

    kind: ClassVar[str] = "series"
    column: str
    length: int
    mean: float
    deviation: float
    limit: float = 8.0
    last: bool = False

    @classmethod
    def fit(cls, columns: Columns, column: str, length: int, *, limit: float = 8.0, last: bool = False) -> Series:
        """Mean and standard deviation of the elements of all lists."""
        return _fitted(
            lambda: _known_elements(columns, column), lambda known: cls(column, length, *_mean_and_deviation(known), limit, last)
        )

    @property
    def width(self) -> int:
        """Values per row."""
        return 2 * self.length

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, 2, length]: the values, 0 where there is none, and 1 where there is one."""
        lists = columns[self.column].tolist()
        encoded = np.zeros((len(lists), 2, self.length))
        for row, value in enumerate(lists):
            elements = _elements(value)
            elements = elements[-self.length :] if self.last else elements[: self.length]
            is_there = ~np.isnan(elements)
            scaled = np.clip((np.where(is_there, elements, self.mean) - self.mean) / self.deviation, -self.limit, self.limit)
            encoded[row, :, : len(elements)] = scaled, is_there
        return _float32(encoded)


@dataclass(frozen=True)
class Words:
    """The words of a text, or of a list, as their places in `words`, counted from 2; 1 for unknown ones, 0 where there are no more. int64.

    The only part of its tensor. A text is split by the rule of `perennial.tokens`; elements of a list are words as they are. Of a longer
    text the first `length` words count.
    """

    kind: ClassVar[str] = "words"
    column: str
    words: tuple[str, ...]
    length: int

    @classmethod
    def fit(cls, columns: Columns, column: str, length: int = 64, *, most: int = 20_000, min_rows: int = 2) -> Words:
        """Keep the words that at least `min_rows` rows have, the most frequent first, at most `most` of them."""

        def counted() -> Counter[str]:
            rows_of: Counter[str] = Counter()
            for value in columns[column].tolist():
                rows_of.update(set(_words(value)))
            return rows_of

        def of(rows_of: Counter[str]) -> Words:
            kept = sorted((word for word, rows in rows_of.items() if rows >= min_rows), key=lambda word: (-rows_of[word], word))
            return cls(column, tuple(kept[:most]), length)

        return _fitted(counted, of)

    @property
    def size(self) -> int:
        """Number of different codes: none, the unknown word, and the known ones."""
        return len(self.words) + 2

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, 2)}

    def encode(self, columns: Columns) -> Array:
        """int64 [rows, length]."""
        values = columns[self.column].tolist()
        codes = np.zeros((len(values), self.length), dtype=np.int64)
        for row, value in enumerate(values):
            places = [self._places.get(word, 1) for word in _words(value)[: self.length]]
            codes[row, : len(places)] = places
        return codes


@dataclass(frozen=True)
class Grams:
    """The pieces of `least` to `most` letters of a text's words, `<` and `>` marking their borders, as codes from 1 to `buckets`. int64.

    The only part of its tensor. A code is a hash that is the same on every machine, so there is nothing to fit, and words that are
    written a little differently, or in a language without blanks, have codes in common. 0 where there are no more; of a longer text the
    first `length` pieces count.
    """

    kind: ClassVar[str] = "grams"
    column: str
    length: int = 256
    buckets: int = 4096
    least: int = 3
    most: int = 4

    @property
    def size(self) -> int:
        """Number of different codes, 0 included."""
        return self.buckets + 1

    def encode(self, columns: Columns) -> Array:
        """int64 [rows, length]."""
        values = columns[self.column].tolist()
        codes = np.zeros((len(values), self.length), dtype=np.int64)
        for row, value in enumerate(values):
            hashes = [
                1 + crc32(gram.encode(errors="surrogatepass")) % self.buckets for gram in itertools.islice(self._grams(value), self.length)
            ]
            codes[row, : len(hashes)] = hashes
        return codes

    def _grams(self, value: object) -> Iterator[str]:
        for word in _words(value):
            marked = f"<{word}>"
            for size in range(self.least, self.most + 1):
                yield from (marked[begin : begin + size] for begin in range(len(marked) - size + 1))


@dataclass(frozen=True)
class Tensor:
    """An array of numbers in standard deviations from their mean, cut at `limit` of them; what is missing is 0. float32.

    The only part of its tensor. All numbers of all rows have one mean and one deviation.
    """

    kind: ClassVar[str] = "tensor"
    column: str
    shape: tuple[int, ...]
    mean: float
    deviation: float
    limit: float = 8.0

    @classmethod
    def fit(cls, columns: Columns, column: str, shape: Sequence[int], *, limit: float = 8.0) -> Tensor:
        """Mean and standard deviation of the numbers of all arrays."""
        return _fitted(
            lambda: _known_elements(columns, column), lambda known: cls(column, tuple(shape), *_mean_and_deviation(known), limit)
        )

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, *shape]. Raises ValueError where an array has another number of places."""
        values = columns[self.column].tolist()
        encoded = np.zeros((len(values), *self.shape))
        for row, value in enumerate(values):
            if not _is_null(value):
                numbers_of_row = _elements(value).reshape(self.shape)
                scaled = np.clip((numbers_of_row - self.mean) / self.deviation, -self.limit, self.limit)
                encoded[row] = np.nan_to_num(scaled, nan=0.0)
        return _float32(encoded)


@dataclass(frozen=True)
class Pixels:
    """A picture as numbers from 0 to 1, those of one color after the other; a null picture is 0. float32.

    The only part of its tensor. A picture is decoded by the rule of `perennial.pictures`, to `shape` (height and width) and `mode`
    (`L` or `RGB`). There is nothing to fit.
    """

    kind: ClassVar[str] = "pixels"
    column: str
    shape: tuple[int, ...]
    mode: str = "L"

    def encode(self, columns: Columns) -> Array:
        """float32 [rows, colors, height, width]. Raises ValueError where bytes are no picture."""
        values = columns[self.column].tolist()
        height, width = self.shape
        encoded = np.zeros((len(values), height, width, pictures.MODES[self.mode]), dtype=np.uint8)
        for row, value in enumerate(values):
            if not _is_null(value):
                content = b64decode(value, validate=True) if isinstance(value, str) else value  # as a request has it
                encoded[row] = pictures.pixels(content, (height, width), self.mode).reshape(encoded.shape[1:])
        return _float32(encoded.transpose(0, 3, 1, 2)) / np.float32(255)


@dataclass(frozen=True)
class Raw:
    """A column as it is, for an estimator that brings its own encoding: a number, null as NaN, float32; with `words` a word, null as "".

    With `words` the only part of its tensor. There is nothing to fit. A number beyond 1e30 is cut, and infinity is as null.
    """

    kind: ClassVar[str] = "raw"
    width: ClassVar[int] = 1
    column: str
    words: bool = False

    def encode(self, columns: Columns) -> Array:
        """float32 or object [rows, 1]."""
        if not self.words:
            return _float32(_bounded(numbers(columns[self.column])))[:, None]
        return np.array([text(value) or "" for value in columns[self.column].tolist()], dtype=object)[:, None]


Part = Category | Number | Steps | Cycle | Block | Series | Words | Grams | Tensor | Pixels | Raw
_PARTS: dict[str, Any] = {part.kind: part for part in get_args(Part)}
_ALONE = ("block", "series", "words", "grams", "tensor", "pixels")  # each the only part of its tensor


class Encoder:
    """Parts by tensor. Two encoders are equal when all their parts are."""

    def __init__(self, tensors: Mapping[str, Sequence[Part]]) -> None:
        self.tensors: dict[str, tuple[Part, ...]] = {name: tuple(parts) for name, parts in tensors.items()}
        for name, parts in self.tensors.items():
            kinds = {part.kind == "category" for part in parts}
            alone = any(part.kind in _ALONE or (isinstance(part, Raw) and part.words) for part in parts)
            if len(kinds) != 1 or (len(parts) > 1 and alone):
                raise ValueError(f"tensor {name} must hold categories alone, numeric parts alone or one {', '.join(_ALONE)} or raw words")
        self._made_of = {name: _together(parts) for name, parts in self.tensors.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoder) and self.tensors == other.tensors

    def __hash__(self) -> int:
        return hash(tuple(self.tensors.items()))

    def encode(self, columns: Columns) -> dict[str, np.ndarray]:
        """The tensors of every row. Raises KeyError where a column is missing and ValueError where a value is of another type."""
        return {
            name: parts[0].encode(columns) if len(parts) == 1 else np.concatenate([part.encode(columns) for part in parts], axis=1)
            for name, parts in self._made_of.items()
        }

    def width(self, tensor: str) -> int:
        """Values per row of a tensor of numbers, of categories or of a series."""
        return sum(part.width for part in self.tensors[tensor] if not isinstance(part, Block | Words | Grams | Tensor | Pixels))

    def sizes(self, tensor: str) -> list[int]:
        """Number of codes of each part of a tensor of codes: categories, words or grams."""
        return [part.size for part in self.tensors[tensor] if isinstance(part, Category | Words | Grams)]

    def to_json(self) -> dict[str, Any]:
        """Everything that was fitted, as JSON can carry it."""
        return {name: [{"kind": part.kind, **asdict(part)} for part in parts] for name, parts in self.tensors.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Encoder:
        """The encoder that `to_json` described. Raises ValueError for an unknown kind of part."""
        return cls({name: [_part(fields) for fields in parts] for name, parts in document.items()})


def _together(parts: Sequence[Part]) -> list[Part | _StepsTogether]:
    """Parts, with `Steps` that stand beside one another as one."""
    made: list[Part | _StepsTogether] = []
    for are_steps, group in itertools.groupby(parts, lambda part: isinstance(part, Steps)):
        beside = list(group)
        made += [_StepsTogether([part for part in beside if isinstance(part, Steps)])] if are_steps else beside
    return made


def _part(fields: Mapping[str, Any]) -> Part:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items() if name != "kind"}
    if fields.get("kind") not in _PARTS:
        raise ValueError(f"{fields.get('kind')!r} is no kind of part; known: {', '.join(_PARTS)}")
    part: Part = _PARTS[fields["kind"]](**values)
    return part


def _is_null(value: object) -> bool:
    """Whether there is no list, text or picture: NaN is what pandas makes of a missing one."""
    return value is None or isinstance(value, float)


def _elements(value: object) -> npt.NDArray[np.float64]:
    """The numbers of a list, what is none or not finite as NaN; none of a null."""
    if _is_null(value):
        return np.zeros(0)
    return _bounded(numbers(np.asarray(value, dtype=object) if isinstance(value, (list, tuple)) else np.asarray(value)))


def _words(value: object) -> list[str]:
    """The words of a text, or the elements of a list; none of a null."""
    if _is_null(value):
        return []
    if isinstance(value, str):
        return words_of(value)
    elements: Any = value.tolist() if isinstance(value, np.ndarray) else value
    return [name for element in elements if (name := text(element)) is not None]


def _known(columns: Columns, column: str) -> npt.NDArray[np.float64]:
    values = _bounded(numbers(columns[column]))
    return values[~np.isnan(values)]


def _known_elements(columns: Columns, column: str) -> npt.NDArray[np.float64]:
    elements: npt.NDArray[np.float64] = np.concatenate([np.zeros(0), *(_elements(value) for value in columns[column].tolist())])
    return elements[~np.isnan(elements)]


def _mean_and_deviation(known: npt.NDArray[np.float64]) -> tuple[float, float]:
    """By which numbers are scaled; 1 for a deviation that is no more than rounding."""
    mean, deviation = (float(known.mean()), float(known.std())) if known.size else (0.0, 1.0)
    return mean, deviation if deviation > _least(mean) else 1.0


def _bounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Infinity as null, and nothing so large that its square is infinite."""
    return np.where(np.isinf(values), np.nan, np.clip(values, -1e30, 1e30))


def _least(value: float) -> float:
    """The least difference from `value` that is more than rounding."""
    return 1e-12 * max(1.0, abs(value))


def _float32(values: Array) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)
