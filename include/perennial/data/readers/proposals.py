r"""What a file seems to be written like, for a sample's dataset and for a refusal. Nothing of it is ever taken without being declared.

>>> import pathlib
>>> from perennial.data.readers.proposals import declaration, propose
>>> file = pathlib.Path("monday.csv")
>>> _ = file.write_text("ride;start;km;paid\nr1;02.03.2026 08:15;4,2;J\nr2;02.03.2026 08:20;NA;N\n")
>>> proposal = propose(file)
>>> [(column.name, column.type) for column in proposal.columns]
[('ride', 'string'), ('start', 'timestamp'), ('km', 'float'), ('paid', 'bool')]
>>> print(declaration(proposal.form))
FileForm(separator=";", decimal=",", nulls=("NA",), true=("J",), false=("N",), times=("%d.%m.%Y %H:%M",))
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from perennial.clock import WITH_OFFSET, WITHOUT_OFFSET
from perennial.column_types import is_list
from perennial.column_types.arrays import flattened
from perennial.column_types.texts import are_free_text
from perennial.counted import counted
from perennial.data.readers.columns import quoted
from perennial.data.readers.json_rows import arrays_in, leaves
from perennial.data.readers.limits import refuse_too_large
from perennial.data.readers.packing import BINARY, SHEETS, Archive, chunks, copied, files_in, form_of
from perennial.data.readers.picture_files import holds_pictures
from perennial.data.readers.sheets import beginnings
from perennial.data.readers.values import is_text
from perennial.data.readers.written import as_written, sentences
from perennial.data.wall_times import wall_times
from perennial.encoding import EXACT, FALSE, TRUE
from perennial.errors import BatchRefused
from perennial.forms import number_pattern, truth_words
from perennial.pictures import looked_at
from perennial.specs import NO_SCALARS, ColumnType, DatasetSpec, ElementType, FileForm

ERRORS = ("#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!")  # of spreadsheets, besides #N/A
NULL_WORDS = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "Null", "null", "None", "none", "nil", "-", "--", "?", ".", *ERRORS)
MISSING_WORDS = ("n/a", "#n/a", "n.a.", "na", "null", "nan", "k. a.", "k.a.", "keine angabe", "unbekannt", "unknown", "missing", "fehlt")
PAIRS = (("y", "n"), ("j", "n"), ("ja", "nein"), ("oui", "non"), ("si", "no"), ("sí", "no"), ("ja", "nej"), ("ja", "nee"), ("tak", "nie"))
SEPARATORS = (",", ";", "\t", "|")
_MARKS = ((".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"))  # decimal and thousands
_DAYS = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d %b %Y",
    "%b %d, %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%Y%m%d",
)
_HOURS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", "T%H:%M:%S")
_TIME_NAMES = re.compile(r"(?:^|.*[_ .])(?:ts|time|timestamp|datetime|date|day|epoch|at|when|created|updated)$", re.IGNORECASE)
_HOUR_NAMES = re.compile(r"(?:^|.*[_ .])(?:hour|hr|heure|stunde|uur|hora|ora)(?:_of_day)?$", re.IGNORECASE)
_SPANS = {"epoch seconds": (3e8, 4.2e9), "epoch milliseconds": (3e11, 4.2e12)}  # from 1979 to 2103
MOST_OF_ALL = 0.9  # share of values of a type from which on the others are told
MOST_ODD_WORDS = 3  # in a column of numbers or times, that are taken for missing
MOST_ODD_VALUES = 0.05  # share of its values that they may be
_UNITS_BEFORE = r"[$€£¥]|USD|EUR|CHF|GBP"
_UNITS_AFTER = r" ?(?:[$€£¥%‰]|USD|EUR|CHF|GBP|[kmcµ]?[gml]|km|km/h|°[CF]|lbs?|oz|min|ms|[hs]|kWh|[kM]?W|[kMG]B)"
_ROWS = 200  # lines by which separators are compared


@dataclass(frozen=True)
class ProposedColumn:
    """A column of a file, and the type that all of its values fit."""

    name: str
    type: ColumnType
    nullable: bool
    of: ElementType = ""  # what a list or an array holds
    shape: tuple[int, ...] = ()  # of an array, or the most frequent height and width of pictures
    mode: Literal["", "L", "RGB"] = ""  # of pictures


@dataclass(frozen=True)
class Proposal:
    """How a file seems to be written."""

    form: FileForm
    columns: tuple[ProposedColumn, ...]
    notes: tuple[str, ...]  # what was chosen or left open, a line each


def propose(path: Path, name: str = "", spec: DatasetSpec | None = None, declared: FileForm | None = None) -> Proposal:
    """What a file seems to be written like: the one form that all values of its columns fit, and not a guess between two.

    Args:
        path: the file.
        name: what it is called in sentences; the name of `path` if empty.
        spec: a dataset to which it should belong: its columns have types, and what it declares stays.
        declared: without a dataset, what is known of the form before.

    Raises:
        BatchRefused: it cannot be read at all.
    """
    name = name or path.name
    form = spec.files if spec else declared or FileForm()
    bare = DatasetSpec.model_construct(
        name=spec.name if spec else "the dataset",
        title="",
        owner="",
        event_time="",
        columns=(),
        files=form,
        time_zone="UTC",
        max_batch_bytes=spec.max_batch_bytes if spec else 1 << 40,
    )
    form = _with_frame(path, bare, name, spec)
    bare = bare.model_copy(update={"files": form.model_copy(update={"nulls": ()})})
    parts = [rows for _, rows in as_written(path, bare, name, [])]
    try:
        rows = pa.concat_tables(parts, promote_options="permissive") if len(parts) > 1 else parts[0]
    except pa.ArrowException as error:
        raise BatchRefused(f"the files in {name} have different columns ({str(error).splitlines()[0]}): land them one by one.") from None
    _refuse_odd_names(rows.column_names, name)
    with sentences(name):
        return _Evidence(rows, form, spec, typed_file=form_of(path.name) in BINARY).proposal()


def _refuse_odd_names(names: Sequence[str], name: str) -> None:
    """Raises BatchRefused where a column has no name, two have one, or values stand where names belong."""
    folded = [_folded(given) for given in names]
    odd = [given for place, given in enumerate(names) if not folded[place] or folded[place] in folded[:place]]
    if odd:
        empty, names_of = folded.count(""), dict.fromkeys(repr(given.strip()) for given in odd)
        next_step = "Rename the column" if len(odd) == 1 else "Rename these columns"
        if empty == 1 and not folded[0]:
            next_step = "Name the column; where it is a row number that pandas wrote, leave it out: to_csv(index=False)"
        elif empty > 1:
            next_step = "If titles or groups stand above the names, leave their lines out, so that the names come first"
        raise BatchRefused(
            f"{name}: each column needs a name of its own in the first line, whatever its upper and lower case, "
            f"and {_listed(names_of)} {'is' if len(names_of) == 1 else 'are'} empty or there before. "
            f"{next_step}."
        )
    values = [given for given in names if re.fullmatch(rf"[+-]?[0-9.,]+|{WITHOUT_OFFSET}|{WITH_OFFSET}", given.strip())]
    if 2 * len(values) > len(names):
        raise BatchRefused(
            f"{name} has values such as {values[0]!r} in its first line, where the names of the columns belong: write them above."
        )


def hint(path: Path, spec: DatasetSpec, name: str, refusal: str, refused_as: Callable[[DatasetSpec], str]) -> str:
    """What a refused file seems to be written like, and the line to write into the spec; empty if that would not help.

    Args:
        path: the file.
        spec: its dataset.
        name: what it is called in sentences.
        refusal: why it was refused.
        refused_as: gives the refusal under another spec.
    """
    if not (form_of(path.name) or path.name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz"))):
        return ""
    try:
        proposal = propose(path, name, spec)
    except BatchRefused:
        return ""
    if proposal.form == spec.files:
        return "".join(f" {note}." for note in proposal.notes)
    then = refused_as(spec.model_copy(update={"files": proposal.form}))
    if then == refusal:
        return ""
    if proposal.form.extra != spec.files.extra:
        return (
            f" To leave such columns out, write `files={declaration(proposal.form)}` into the spec of {spec.name}; "
            'with extra="keep" the table keeps them.'
        )
    return (
        f" It looks as if {_listed(differences(proposal.form, spec.files))}: if so, write `files={declaration(proposal.form)}` "
        f"into the spec of {spec.name}." + "".join(f" {note}." for note in proposal.notes)
    )


def declaration(form: FileForm) -> str:
    """The form as it is written into a spec: what differs from the default."""
    default = FileForm()
    given = [(name, getattr(form, name)) for name in FileForm.model_fields if getattr(form, name) != getattr(default, name)]
    return f"FileForm({', '.join(f'{name}={_literal(value)}' for name, value in given)})"


def differences(form: FileForm, other: FileForm) -> list[str]:
    """What a form has that another has not, in words."""
    words = {
        "separator": f"fields are separated by {form.separator!r}",
        "decimal": f"numbers have the decimal mark {form.decimal!r}",
        "thousands": f"thousands are parted by {form.thousands!r}" if form.thousands else "thousands are not parted",
        "encoding": f"it is written in {form.encoding}",
        "nulls": f"{_listed(map(repr, form.nulls))} {'means' if len(form.nulls) == 1 else 'mean'} missing",
        "true": f"{_listed(map(repr, form.true))} {'means' if len(form.true) == 1 else 'mean'} true",
        "false": f"{_listed(map(repr, form.false))} {'means' if len(form.false) == 1 else 'mean'} false",
        "times": f"times are written as {_listed(map(repr, form.times))}",
        "header": "its column names differ in upper and lower case alone",
        "fields": _listed(f"{quoted(column)} lies at {called}" for column, called in form.fields.items()),
        "time_of": _listed(f"{quoted(column)} is made of {' and '.join(map(quoted, parts))}" for column, parts in form.time_of.items()),
        "records": f"its rows lie at {form.records}",
        "sheet": f"its rows lie in the sheet {form.sheet!r}",
        "header_row": f"the names of its columns are in row {form.header_row}",
    }
    return [said for name, said in words.items() if getattr(form, name) != getattr(other, name)]


def _listed(words: Iterable[str]) -> str:
    listed = list(words)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(one)}" for name, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _with_frame(path: Path, bare: DatasetSpec, name: str, spec: DatasetSpec | None) -> FileForm:
    """Encoding, separator and place of the rows: what must be known before a value is read."""
    form = bare.files
    with sentences(name), Archive.opened(path) as archive, contextlib.closing(files_in(path, archive, bare, name)) as files:
        if archive is not None and holds_pictures(archive):
            return form
        _, kind, file = next(files)  # those of an archive are alike
        if kind in BINARY:
            return form
        if kind in SHEETS:
            with copied(file, bare, name) as book:
                return _with_sheet(beginnings(book, bare, name), form, spec)
        content = bytearray()
        for chunk in chunks(file):
            content += chunk
            refuse_too_large(len(content), bare, f"{name}, unpacked,")
        try:
            text = content.decode(form.encoding)
            if "\0" in text:
                raise ValueError
        except ValueError:
            form = form.model_copy(update={"encoding": encoding_of(content)})
            text = content.decode(form.encoding, "replace")
        text = text.removeprefix("\ufeff")
        if kind in (".csv", ".tsv"):
            return form.model_copy(update={"separator": _separator(text, form.separator, spec)})
        if kind == ".json" and not form.records:
            try:
                places = arrays_in(json.loads(text))
            except ValueError:
                places = []
            if len(places) == 1 and places[0]:
                return form.model_copy(update={"records": ".".join(places[0])})
        return form


def _with_sheet(beginnings: dict[str, list[list[str]]], form: FileForm, spec: DatasetSpec | None) -> FileForm:
    """The sheet and the row of it that have the names of the columns; as declared if nothing else is clear."""
    if spec is None:
        sheet, rows = next(((sheet, rows) for sheet, rows in beginnings.items() if len(rows) > 1), ("", []))
        widths = [sum(map(bool, row)) for row in rows]
        header = next((place for place, width in enumerate(widths) if width == max(widths)), 0)
        return _in_sheet(form, beginnings, sheet, header)
    wanted = {_folded(column) for column in (*(c.name for c in spec.columns), *form.fields.values())}
    places = {(sheet, row): len(wanted & set(map(_folded, cells))) for sheet, rows in beginnings.items() for row, cells in enumerate(rows)}
    most = max(places.values(), default=0)
    best = [place for place, count in places.items() if count == most]
    if len(best) != 1 or most < 2:
        return form
    return _in_sheet(form, beginnings, *best[0])


def _in_sheet(form: FileForm, sheets: Collection[str], sheet: str, header: int) -> FileForm:
    """The form of rows in one of some sheets, which is named where there are several; the place of the header is from 0 on."""
    return form.model_copy(update={"sheet": sheet if len(sheets) > 1 or form.sheet else "", "header_row": header + 1})


def encoding_of(content: bytes | bytearray) -> str:
    """The encoding that bytes seem to have which are no UTF-8: UTF-16 by its mark or zeros, else one with a byte for each sign."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    zeros = [content[start : 1 << 16 : 2].count(0) for start in (0, 1)]
    if max(zeros) > len(content[: 1 << 16]) // 8:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return "cp1252" if re.search(rb"[\x80-\x9f]", content) and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", content) else "latin-1"


def _separator(text: str, declared: str, spec: DatasetSpec | None) -> str:
    """The separator by which the lines of a file have the same number of fields, more than one; the declared one if none is better."""
    wanted = {_folded(column.name) for column in spec.columns} if spec else set()
    lines = list(itertools.islice(io.StringIO(text, newline=""), _ROWS))
    fits: dict[str, tuple[int, int]] = {}
    for separator in dict.fromkeys((declared, *SEPARATORS)):
        try:
            rows = [row for row in csv.reader(lines, delimiter=separator) if row]
        except csv.Error:
            continue
        even = rows and sum(len(row) == len(rows[0]) for row in rows) >= MOST_OF_ALL * len(rows)
        if even and len(rows[0]) > 1:
            fits[separator] = (len(wanted & set(map(_folded, rows[0]))), len(rows[0]))
    return max(fits, key=lambda separator: (*fits[separator], separator == declared)) if fits else declared


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


class _Evidence:
    """The columns of one file as they are written, and what can be told from them."""

    def __init__(self, rows: pa.Table, form: FileForm, spec: DatasetSpec | None, *, typed_file: bool) -> None:
        self.form, self.spec, self.notes = form, spec, list[tuple[str, str]]()  # columns, and what is said of each
        self.rows = self._flattened(rows)
        self.typed_file = typed_file
        self.nulls: dict[str, None] = {}
        self.odd: dict[str, dict[str, int]] = {}  # column -> words between numbers or times, and in how many rows

    def proposal(self) -> Proposal:
        """The form, the columns and the notes."""
        texts = {name: self._words(name) for name in self.rows.column_names if is_text(self.rows[name].type)}
        kinds: dict[str, ColumnType] = {}
        if self.spec is None:
            self.odd = {name: odd for name, words in texts.items() if (odd := self._odd_words(name, words))}
        marks = self._marks(
            {name: self._without_odd_words(name, words) for name, words in texts.items() if self._may_be_number(name, words)}
        )
        self.form = self.form.model_copy(update=dict(zip(("decimal", "thousands"), marks, strict=True)))
        for name in self.rows.column_names:
            kinds[name] = self._kind(name, texts.get(name))
        if self.nulls:
            self.form = self.form.model_copy(update={"nulls": (*self.form.nulls, *(w for w in self.nulls if w not in self.form.nulls))})
            self._name_other_nulls(kinds)
        if self.spec is None:
            self._name_missing_words(kinds)
        columns = tuple(
            ProposedColumn(name, kind, self._null_count(name, kind) > 0, *(self._more_of(name, kind) if self.spec is None else ()))
            for name, kind in kinds.items()
        )
        columns = (*self._time_of_two(kinds), *columns)
        return Proposal(self.form, columns, tuple(f"{quoted(name)}{said}" for name, said in self.notes))

    def _time_of_two(self, kinds: dict[str, ColumnType]) -> tuple[ProposedColumn, ...]:
        """The time that a column of days, of which some come twice, and one of hours make together; nothing if there are other times."""
        times = [name for name, kind in kinds.items() if kind == "timestamp"]
        hours = [name for name, kind in kinds.items() if kind == "int" and _HOUR_NAMES.fullmatch(name)]
        if self.spec or self.form.time_of or len(times) != 1 or len(hours) != 1 or self.form.times or "time" in kinds:
            return ()
        day, hour = self.rows[times[0]].cast(pa.string()), self.rows[hours[0]].cast(pa.string())
        whole_days = pc.all(pc.match_substring_regex(day, "^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T]00:00:00(?:\\.0+)?)?$")).as_py()
        if not whole_days or not _all_like(hour, "^(?:[01]?[0-9]|2[0-3])$") or pc.count_distinct(day).as_py() == len(day):
            return ()
        self.form = self.form.model_copy(update={"time_of": {"time": (times[0], hours[0])}})
        return (ProposedColumn("time", "timestamp", self._null_count(times[0], "timestamp") + self._null_count(hours[0], "int") > 0),)

    def _flattened(self, rows: pa.Table) -> pa.Table:
        """Nested fields as columns, under the names of the spec or their own."""
        rows = rows.rename_columns([unicodedata.normalize("NFC", name.strip()) for name in rows.column_names])
        self._fit_header(rows.column_names)
        nested = [path for path, _ in leaves(rows.schema) if len(path) > 1]
        names = [path[-1] for path, _ in leaves(rows.schema)]
        declared = {called: column for column, called in self.form.fields.items()}
        fields, columns = dict(self.form.fields), {}
        for path, _ in leaves(rows.schema):
            values = rows[path[0]]
            for step in path[1:]:
                values = pc.struct_field(values, step)
            called = ".".join(path)
            own = path[-1] if names.count(path[-1]) == 1 else "_".join(path)
            column = declared.get(called, own if path in nested else called)
            wanted = self.spec is None or column in {one.name for one in self.spec.columns}
            if path in nested and wanted and called not in declared:
                fields[column] = called
            if wanted or path not in nested:
                columns[column] = values
        self.form = self.form.model_copy(update={"fields": fields})
        return pa.table(columns) if len(columns) == len(rows.column_names) or nested else rows

    def _fit_header(self, names: Sequence[str]) -> None:
        if self.spec is None:
            return
        wanted = [unicodedata.normalize("NFC", column.name) for column in self.spec.columns]
        unmatched = [name for name in wanted if name not in names and name not in self.form.fields]
        known = {*wanted, *self.form.fields.values()}
        unexpected = [name for name in names if name not in known]
        folded = [name.casefold() for name in names]
        if unmatched and all(folded.count(name.casefold()) == 1 for name in unmatched):
            self.form = self.form.model_copy(update={"header": "any case"})
        elif not unmatched and unexpected and len(set(names)) == len(names) and self.form.header == "exact":
            self.form = self.form.model_copy(update={"extra": "drop"} if self.form.extra == "refuse" else {})

    def _wanted(self, name: str) -> ColumnType | None:
        """The type that the spec says, if there is one; `string` of a column that it does not have."""
        if self.spec is None:
            return None
        return next((column.type for column in self.spec.columns if _folded(column.name) == _folded(name)), "string")

    def _words(self, name: str) -> pa.ChunkedArray:
        """Its different texts without blanks around them, those that are missing left out."""
        words = pc.unique(pc.utf8_trim_whitespace(self.rows[name].cast(pa.string())))
        return words.filter(pc.and_(pc.is_valid(words), pc.not_equal(words, "")).fill_null(False))

    def _without_null_words(self, words: pa.Array) -> pa.Array:
        return words.filter(pc.invert(pc.is_in(words, pa.array([*NULL_WORDS, *self.form.nulls]))))

    def _odd_words(self, name: str, words: pa.Array) -> dict[str, int]:
        """The few words without a digit that come several times among values which have one; nothing if there are others."""
        known = self._without_null_words(words)
        odd = known.filter(pc.invert(pc.match_substring_regex(known, "[0-9]")))
        if self.typed_file or not 0 < len(odd) <= MOST_ODD_WORDS or len(odd) == len(known):
            return {}
        values = pc.utf8_trim_whitespace(self.rows[name].cast(pa.string()))
        rows = {word: pc.sum(pc.equal(values, word)).as_py() for word in odd.to_pylist()}
        few = sum(rows.values()) <= MOST_ODD_VALUES * (len(values) - values.null_count)
        return rows if few and min(rows.values()) > 1 else {}

    def _without_odd_words(self, name: str, words: pa.Array) -> pa.Array:
        return words.filter(pc.invert(pc.is_in(words, pa.array(list(self.odd.get(name, {})), pa.string()))))

    def _kind_without_odd_words(self, name: str, words: pa.Array) -> ColumnType | None:
        """The type of a column of numbers or times but for some words, which are then taken for missing; None if it is no such column."""
        form, notes = self.form, list(self.notes)
        kind = self._kind_of_words(name, self._without_odd_words(name, words), None)
        if kind not in ("int", "float", "timestamp"):
            self.form, self.notes = form, notes
            return None
        self.nulls |= dict.fromkeys(self.odd[name])
        shown = _listed(f"{word!r} ({counted(rows, 'row')})" for word, rows in self.odd[name].items())
        self._note(
            name,
            f" holds {'times' if kind == 'timestamp' else 'numbers'} but for {shown}, taken for missing: nulls= in files "
            'says so; take it out there and write type="string" where it is a value of its own',
        )
        return kind

    def _may_be_number(self, name: str, words: pa.Array) -> bool:
        wanted = self._wanted(name)
        return (not self.typed_file if wanted is None else wanted in ("int", "float")) and len(self._without_null_words(words)) > 0

    def _marks(self, columns: dict[str, pa.Array]) -> tuple[str, str]:
        """The decimal and the thousands mark that numbers of all columns fit; the declared ones where they fit or nothing else is clear."""
        declared = (self.form.decimal, self.form.thousands)
        common: set[tuple[str, str]] | None = None
        for words in columns.values():
            known = self._without_null_words(words)
            # 0,123 is no thousand: no thousands begin with a zero
            fits = {
                marks
                for marks in (declared, *_MARKS)
                if _all_like(known, self._number(marks)) and not (marks[1] and _any_like(known, rf"^[+-]?0{re.escape(marks[1])}"))
            }
            if fits:
                common = fits if common is None else common & fits
        if not common or declared in common:
            return declared
        if len(common) > 1:
            plain = {marks for marks in common if not marks[1]}
            grouped = [
                name
                for name, words in columns.items()
                if _all_like(self._without_null_words(words), r"^[+-]?[0-9]{1,3}([., ' ][0-9]{3})+$")
            ]
            if len(plain) == 1 and (not grouped or len({decimal for decimal, _ in common}) == 1):
                return plain.pop()
            for name in grouped:
                value = next(w for w in self._without_null_words(columns[name]).to_pylist())
                self._note(name, f": {value!r} may have a mark of thousands or of decimals: say decimal= and thousands= in files")
            return declared
        return common.pop()

    def _number(self, marks: tuple[str, str]) -> str:
        return number_pattern(self.form.model_copy(update={"decimal": marks[0], "thousands": marks[1]}))

    def _kind(self, name: str, words: pa.Array | None) -> ColumnType:
        wanted = self._wanted(name)
        if words is None:
            return self._kind_of_values(name, wanted)
        if wanted in ("string", *NO_SCALARS) or not len(words):
            return wanted or "string"
        if self.typed_file and wanted is None:
            return "text" if are_free_text(self.rows[name]) else "string"
        known = self._without_null_words(words)
        if not len(known):
            return wanted or "string"
        kind = self._kind_without_odd_words(name, known) if name in self.odd else None
        kind = kind or ("list" if wanted is None and self._are_arrays(known) else self._kind_of_words(name, known, wanted))
        if kind not in ("string", "list"):
            used = [word for word in words.to_pylist() if word in NULL_WORDS and word not in self.form.nulls]
            not_a_number = [word for word in used if kind == "float" and word.lower() == "nan"]  # is missing without being declared
            self.nulls |= dict.fromkeys(word for word in used if word not in not_a_number)
        if wanted is None and kind == "string" and are_free_text(self.rows[name]):
            return "text"
        return kind if wanted is None else wanted

    def _kind_of_values(self, name: str, wanted: ColumnType | None) -> ColumnType:
        values = self.rows[name]
        kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            span = pc.min_max(values).as_py()
            looks_so = wanted == "timestamp" or (wanted is None and _TIME_NAMES.fullmatch(name))
            epoch = next((e for e, (a, b) in _SPANS.items() if span["min"] is not None and a <= span["min"] and span["max"] < b), None)
            if looks_so and epoch and not self.typed_file:
                self._declare_time(epoch)
                return "timestamp"
            if pa.types.is_floating(kind) and self.spec is None:
                self._refuse_inexact(name, values.cast(pa.float64()))
            return "int" if pa.types.is_integer(kind) else "float"
        if pa.types.is_boolean(kind):
            return "bool"
        if pa.types.is_decimal(kind):
            return "float"
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return self._kind_of_many(name, kind)
        return "timestamp" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else "string"

    def _kind_of_many(self, name: str, kind: pa.DataType) -> ColumnType:
        """The type of values that are bytes, or hold other values."""
        if not pa.types.is_nested(kind):
            return "image"
        if is_list(kind):
            if self._array_of(name)[1]:
                return "array"
            if self._elements_of(name):
                return "list"
        raise BatchRefused(
            f"{quoted(name)} has the type {kind}, and a value of a table is one number, text, time, or a list of numbers or words. "
            "Leave the column out."
        )

    def _more_of(self, name: str, kind: ColumnType) -> tuple[ElementType, tuple[int, ...], Literal["", "L", "RGB"]]:
        """What the column of a list, an array or of pictures says besides its type: elements, shape and mode."""
        if kind == "array":
            return (*self._array_of(name), "")
        if kind == "image":
            return ("", *self._pictures_of(name))
        return (self._elements_of(name) if kind == "list" else "", (), "")

    def _array_of(self, name: str) -> tuple[ElementType, tuple[int, ...]]:
        """Elements and shape of lists of lists, or of lists whose type fixes their length, if all have one shape."""
        values = self.rows[name]
        if not len(values) or not (pa.types.is_fixed_size_list(values.type) or is_list(values.type.value_type)):
            return "", ()
        parts = [flattened(chunk) for chunk in values.chunks if chunk.null_count < len(chunk)]
        shapes, kind = {shape for shape, _ in parts}, parts[0][1].type if parts else pa.null()
        if len(shapes) != 1 or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return "", ()
        return ("int" if pa.types.is_integer(kind) else "float"), shapes.pop()

    def _pictures_of(self, name: str) -> tuple[tuple[int, ...], Literal["L", "RGB"]]:
        """The most frequent size of pictures, and whether one of them has colors."""
        looks = []
        for row, content in enumerate(self.rows[name].to_pylist(), start=1):
            try:
                looks += [looked_at(content)] if content is not None else []
            except ValueError as error:
                raise BatchRefused(f"{quoted(name)} holds bytes, which are taken for pictures, and {error} (row {row})") from None
        if not looks:
            raise BatchRefused(f"{quoted(name)} holds bytes, and in no row: leave the column out.")
        sizes = Counter((look.height, look.width) for look in looks)
        shape = max(sizes, key=lambda size: (sizes[size], size))
        if len(sizes) > 1:
            self._note(name, f" has pictures of {len(sizes):,} sizes: all are brought to the most frequent one, its shape")
        return shape, "L" if {look.mode for look in looks} <= {"1", "L", "LA"} else "RGB"

    def _elements_of(self, name: str) -> ElementType:
        """What the lists of a column hold; empty where it is neither numbers nor words. Lists without elements are taken for numbers."""
        values = self.rows[name]
        if is_text(values.type):
            elements = [element for word in self._words(name).to_pylist() for element in json.loads(word)]
            kinds = set(map(type, elements))
            return "string" if kinds == {str} else "int" if kinds == {int} else "float"
        kind = values.type.value_type
        if pa.types.is_integer(kind):
            return "int"
        return "string" if is_text(kind) else "float" if pa.types.is_floating(kind) or pa.types.is_null(kind) else ""

    def _are_arrays(self, words: pa.Array) -> bool:
        """Whether texts are JSON arrays of numbers alone or of words alone."""
        if not _all_like(words, r"(?s)^\[.*\]$"):
            return False
        try:
            kinds = {type(element) for word in words.to_pylist() for element in json.loads(word)}
        except ValueError:
            return False
        return kinds <= {str} or kinds <= {int, float}

    def _refuse_inexact(self, name: str, values: pa.ChunkedArray) -> None:
        known = values.filter(pc.is_finite(values).fill_null(False))
        if len(known) and pc.all(pc.equal(known, pc.floor(known))).as_py() and pc.max(pc.abs(known)).as_py() >= EXACT:
            raise BatchRefused(
                f"{quoted(name)} has whole numbers from 2^53 on as numbers with a point, which do not tell them apart: "
                "write it as whole numbers or as text."
            )

    def _kind_of_words(self, name: str, words: pa.Array, wanted: ColumnType | None) -> ColumnType:
        if wanted in (None, "bool") and self._are_truths(words, wanted):
            return "bool"
        plain_numbers = _all_like(words, r"^[0-9]+(\.[0-9]*)?$")  # 20240301 and 1709251200 are times only where the name says so
        may_be_time = wanted == "timestamp" or (wanted is None and (not plain_numbers or _TIME_NAMES.fullmatch(name)))
        if may_be_time and self._are_times(name, words):
            return "timestamp"
        number = self._number((self.form.decimal, self.form.thousands))
        if wanted in (None, "int", "float") and _all_like(words, number):
            if wanted:
                return wanted
            if _any_like(words, r"^[+-]?0[0-9]"):
                return "string"  # zeros in front are part of a code, which a number would lose
            return self._kind_of_number(words)
        if wanted is None:
            self._name_strangers(name, words, number)
            self._name_other_words(name, words)
        return "string"

    def _kind_of_number(self, words: pa.Array) -> ColumnType:
        whole = words
        for sign in filter(None, (self.form.thousands, "+")):
            whole = pc.replace_substring(whole, sign, "")
        if not _all_like(whole, "^-?[0-9]+$"):
            return "float"
        try:
            whole.cast(pa.int64())
        except pa.ArrowInvalid:
            return "string"  # more than 64 bits
        return "int"

    def _are_truths(self, words: pa.Array, wanted: ColumnType | None) -> bool:
        lower = set(pc.utf8_lower(words).to_pylist()) if len(words) <= 8 else set()
        if not lower:
            return False
        true, false = truth_words(self.form)
        if lower <= {*true, *false}:
            digits = lower <= {"0", "1"}  # are whole numbers unless the spec says otherwise
            return wanted == "bool" or (not digits and (lower <= {"true", "false"} or len(lower) > 1))
        pair = next((pair for pair in PAIRS if lower == set(pair)), None)
        if not pair:
            return False
        given = {word.casefold(): word for word in words.to_pylist()}
        self.form = self.form.model_copy(
            update={
                "true": tuple(dict.fromkeys((*self.form.true, *(given[w] for w in pair[:1] if w not in TRUE)))),
                "false": tuple(dict.fromkeys((*self.form.false, *(given[w] for w in pair[1:] if w not in FALSE)))),
            }
        )
        return True

    def _are_times(self, name: str, words: pa.Array) -> bool:
        texts = pa.chunked_array([words])
        if _times_fit(texts, self.form.times):
            if _any_like(words, f"{WITH_OFFSET}$") and self.spec is None:
                self._note(name, " has times with an offset: they are converted to the dataset's time_zone, UTC unless you set it")
            return True
        fits = [form for form in self._time_forms(name, words) if _times_fit(texts, (*self.form.times, form))]
        if len(fits) > 1:
            self._note(name, f": {words[0].as_py()!r} may be {' or '.join(map(repr, fits))}: say which one with times= in files")
        if len(fits) != 1:
            return False
        self._declare_time(fits[0])
        return True

    def _time_forms(self, name: str, words: pa.Array) -> list[str]:
        first = pa.chunked_array([words.slice(0, 1)])
        if _all_like(words, r"^[0-9]{9,13}(\.[0-9]+)?$"):
            span = pc.min_max(words.cast(pa.float64())).as_py()
            return [epoch for epoch, (least, most) in _SPANS.items() if least <= span["min"] and span["max"] < most]
        return [day + hour for day in _DAYS for hour in _HOURS if _times_fit(first, (day + hour,))]

    def _declare_time(self, form: str) -> None:
        if form not in self.form.times:
            self.form = self.form.model_copy(update={"times": (*self.form.times, form)})

    def _name_strangers(self, name: str, words: pa.Array, number: str) -> None:
        """A note if nearly all values of a text column are numbers, so that a few strangers do not make it a text unnoticed."""
        values = pc.utf8_trim_whitespace(self.rows[name].cast(pa.string()))
        like = pc.match_substring_regex(values, number)
        count, all_of_them = pc.sum(like).as_py() or 0, len(values) - values.null_count
        if count and count >= MOST_OF_ALL * all_of_them:
            place = pc.index(like, False).as_py()
            value = values[place].as_py()
            stranger = f"{value[:60]!r} in row {place + 1} is no number"
            remedy = f'. Where it means missing, write files={declaration(self._with_null(value))} and the type "float"'
            self._note(
                name,
                f" is text, since {stranger}; {count:,} of {all_of_them:,} values are" + ("" if any(map(str.isdigit, value)) else remedy),
            )

    def _note(self, name: str, said: str) -> None:
        """What is said of a column; its name comes before it."""
        self.notes.append((name, said))

    def _with_null(self, word: str) -> FileForm:
        return self.form.model_copy(update={"nulls": (*self.form.nulls, word)})

    def _name_missing_words(self, kinds: dict[str, ColumnType]) -> None:
        """A note for each text column that has a word which often means that nothing is known."""
        for name, kind in kinds.items():
            if kind not in ("string", "text") or not is_text(self.rows[name].type):
                continue
            values = pc.utf8_trim_whitespace(self.rows[name].cast(pa.string()))
            often_missing = pc.is_in(pc.utf8_lower(values), pa.array(MISSING_WORDS))
            for word in pc.unique(values.filter(often_missing)).to_pylist():
                if word not in self.form.nulls:
                    rows = counted(pc.sum(pc.equal(values, word)).as_py(), "row")
                    self._note(
                        name,
                        f" has {word!r} in {rows}, as a value like any other: where it means missing, write "
                        f"files={declaration(self._with_null(word))}",
                    )

    def _name_other_words(self, name: str, words: pa.Array) -> None:
        """A note if nearly all values of a text column are days in forms of which none fits all, or numbers with a unit."""
        texts = words.to_pylist()

        def like(pattern: str) -> bool:
            return sum(bool(re.fullmatch(pattern, text)) for text in texts) >= MOST_OF_ALL * len(texts)

        if any(column == name for column, _ in self.notes):
            return
        since = " is text, since"
        if like(r"[0-9]{4}-(?:0[1-9]|1[0-2])"):
            self._note(name, f"{since} {texts[0]!r} has no day: write the first of the month where it should be a time")
        elif like(r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{1,4}(?:[ T].*)?"):
            shapes = {re.sub("[0-9]+", "0", re.split("[ T]", text)[0]): text for text in texts}
            shown = _listed(repr(text) for text in list(shapes.values())[:3])
            self._note(
                name,
                f"{since} no one form of days fits all its values, such as {shown}: write one form, or declare each with times= in files",
            )
        elif like(rf"(?:{_UNITS_BEFORE})? ?[+-]?[0-9][0-9.,' ]*(?:{_UNITS_AFTER})?"):
            self._note(name, f"{since} {texts[0]!r} is a number with a unit: write the number alone where it should be one")

    def _name_other_nulls(self, kinds: dict[str, ColumnType]) -> None:
        for name, kind in kinds.items():
            if kind in ("string", "text") and is_text(self.rows[name].type):
                count = pc.sum(pc.is_in(self.rows[name], pa.array(list(self.nulls), self.rows[name].type))).as_py()
                if count:
                    self._note(name, f" has such a word in {counted(count, 'row')}: it is missing there too, unless it is quoted")

    def _null_count(self, name: str, kind: ColumnType) -> int:
        values = self.rows[name]
        nulls: int = values.null_count
        if pa.types.is_floating(values.type):
            nulls += pc.sum(pc.is_nan(values)).as_py() or 0
        if is_text(values.type):
            trimmed = pc.utf8_trim_whitespace(values)
            missing = pc.is_in(trimmed, pa.array([*self.form.nulls, *([""] if kind not in ("string", "text") else [])], values.type))
            if kind == "float":
                missing = pc.or_(missing, pc.equal(pc.utf8_lower(trimmed), "nan"))
            nulls += pc.sum(missing).as_py() or 0
        return nulls


def _all_like(words: pa.Array, pattern: str) -> bool:
    return len(words) > 0 and bool(pc.all(pc.match_substring_regex(words, pattern)).as_py())


def _any_like(words: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(words, pattern)).as_py())


def _times_fit(words: pa.ChunkedArray, forms: Sequence[str]) -> bool:
    try:
        wall_times(words, "UTC", forms)
    except pa.ArrowInvalid:
        return False
    return True
