"""A dataset: its columns, its key, its event time, how its rows live, and the limits of a batch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, InstanceOf, PrivateAttr, SerializeAsAny, field_validator, model_validator

from perennial.clock import UTC
from perennial.specs.base import Spec, TimeZone
from perennial.specs.columns import NO_SCALARS, Column
from perennial.specs.compute import ComputeSpec
from perennial.specs.deadlines import Deadline
from perennial.specs.files import FileForm
from perennial.specs.named import Named
from perennial.specs.sources import SourceSpec

ROW, LANDED = "_row", "_landed"  # columns that a table adds where its dataset names no key, or no event time


Rows = Literal["final", "corrected"]


OnKnownKey = Literal["refuse", "replace", "keep_first"]


class GroupSpec(Spec):
    """A column whose values are groups of rows that must be represented in the data."""

    column: str = Field(description="Column of type string, bool or int with at most 50 different values.")
    min_share: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Smallest share of the rows that each group must have, in a batch and in what a training would use.",
    )
    min_rows: int = Field(default=0, ge=0, description="Fewest rows of each group for a training.")
    severity: Literal["warning", "critical"] = Field(
        default="warning",
        description="What becomes of a batch or training in which a group has vanished or has too little: `warning` reports it, "
        "`critical` refuses.",
    )


class DatasetSpec(Named):
    """One dataset: its columns, its key, its event time, and the limits of a batch."""

    columns: tuple[Column, ...] = Field(default=(), description="All columns, in table order. Only one with `scores_of` names none.")
    key: tuple[str, ...] = Field(
        default=(), description="Columns that identify a row uniquely, over all batches. If there are none, `row_id` says what names a row."
    )
    row_id: Literal["", "content", "position"] = Field(
        default="",
        description="What names a row where no column does, in a column `_row` that the table adds. `content`: a hash of its values, "
        "so that identical rows are one row, and the others are dropped and counted. `position`: the name of its file and its place there.",
    )
    event_time: str = Field(
        default="",
        description="Timestamp column by which rows are ordered, split and put into windows; it must be said. "
        "Empty if rows have no time: "
        "then the time at which their file landed counts, in a column `_landed` that the table adds.",
    )
    rows: Rows = Field(
        default="final",
        description="`final`: a row that is in the table never changes, and a file with a key that is in is refused whole. "
        "`corrected`: files may have rows that are in; each row comes to its own outcome, which the receipt counts.",
    )
    on_known_key: OnKnownKey = Field(
        default="refuse",
        description="With `rows` `corrected`: what becomes of a row whose key is in the table with other values. `replace`: it takes the "
        "place of the row that is in; `keep_first`: it is ignored; `refuse`: it goes to quarantine. "
        "A row with the same values changes nothing.",
    )
    newest_by: str = Field(
        default="",
        description="Column (a time or a number, never missing) whose largest value is the newest of several rows with one key: in a file, "
        "and with `replace` against the table, whose newer row stays. Without it, rows of a file with one key must be identical.",
    )
    deleted: str = Field(
        default="",
        description="With `rows` `corrected`: bool column that marks deletions. A row with true removes the row of its key from the table "
        "and is not stored; it needs no more than its key and `newest_by`. A file without the column deletes nothing.",
    )
    time_zone: TimeZone = Field(
        default=UTC,
        description="Time zone (IANA name) of the dataset's times. A time without an offset is taken as wall time of this zone, "
        "one with an offset or Z is converted to it, in files and requests alike. A table with rows keeps its zone.",
    )
    label_delay_days: float = Field(
        default=0,
        ge=0,
        description="Days after event time until the label is known; ages, splits and replays take it into account. "
        "A row without a label is left out of a training until its label is known: from a label feed (`labels` of the model), or as a "
        "corrected row. Of a label feed, and of outcomes that are learned from, labels of rows that are younger than this do not count "
        "yet, so that those that come early do not outweigh the others.",
    )
    max_batch_bytes: int = Field(
        default=1 << 30, gt=0, description="Largest file that is accepted, bytes (also unpacked); a larger one is refused whole."
    )
    expected: Deadline | None = Field(
        default=None,
        description='Wall time by which a batch must have been taken in on each day, such as `"05:00"`. Where none was, each model that '
        "learns from it has an incident of the kind *deadline*. Unset: batches may come whenever they do.",
    )
    freshness_days: float | None = Field(
        default=None, description="Oldest event time that is accepted, in days before the newest one in the table; no limit if unset."
    )
    files: FileForm = Field(
        default=FileForm(), description="How its files are written. `perennial add dataset --sample` proposes what it finds."
    )
    source: SerializeAsAny[InstanceOf[SourceSpec]] | None = Field(
        default=None,
        description="Where batches come from beside the files that land, such as `SqlSource(...)`. What is new there lands as files.",
    )
    scores_of: str = Field(
        default="",
        description="Model whose scores in batches are the rows (docs/scores.md): they come by themselves, and no files do. "
        "Key, columns and event time follow from the model: leave them out.",
    )
    groups: tuple[GroupSpec, ...] = Field(
        default=(),
        description="Columns whose groups must be represented: each batch is compared with the rows that are in, and an evaluation shows "
        "labels and gaps by group. The name of a column alone stands for a `GroupSpec` of it.",
    )
    compute: ComputeSpec = Field(default=ComputeSpec(), description="Resources for ingestion.")
    _joined: frozenset[str] = PrivateAttr(default=frozenset())  # columns that a model's joins bring: its table has none of them

    @field_validator("groups", mode="before")
    @classmethod
    def _may_be_names(cls, groups: object) -> object:
        if isinstance(groups, (tuple, list)):
            return tuple(GroupSpec(column=group) if isinstance(group, str) else group for group in groups)
        return groups

    @model_validator(mode="after")
    def _says_columns_unless_they_follow(self) -> DatasetSpec:
        if self.scores_of and (given := sorted(self.model_fields_set - _OF_SCORES)):
            raise ValueError(
                f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} set, and follow{'s' if len(given) == 1 else ''} from the model "
                f"whose scores are its rows, {self.scores_of}: leave out what scores_of says"
            )
        if not self.scores_of and not self.columns:
            raise ValueError("it has no columns: name those of its files, in table order")
        if not self.scores_of and "event_time" not in self.model_fields_set:
            raise ValueError('event_time is missing: name the column that says when a row happened; event_time="" if none does')
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> DatasetSpec:
        if self.scores_of:
            return self
        names = [c.name for c in self.columns]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise ValueError(f"columns named twice: {', '.join(sorted(twice))}")
        for difference, forms in (
            ("upper and lower case", [n.casefold() for n in names]),
            ("the encoding of their accents (NFC)", [unicodedata.normalize("NFC", n) for n in names]),
        ):
            if alike := [n for n, form in zip(names, forms, strict=True) if forms.count(form) > 1]:
                raise ValueError(f"columns that differ by {difference} alone: {', '.join(sorted(alike))}; tables cannot tell them apart")
        if "event_time" in names and self.event_time != "event_time":
            raise ValueError(f"the column event_time is not the event time, which is {self.time_column}: give it another name")
        self._refuse_no_identity()
        if not self.event_time and self.freshness_days is not None:
            raise ValueError("freshness_days bounds event times, and it has none: a file that lands is always new. Leave it out")
        for role, wanted in (("key", self.key), ("event_time", (self.event_time,) if self.event_time else ())):
            missing = [n for n in wanted if n not in names]
            if missing:
                raise ValueError(f"{role} names {', '.join(missing)}, which is no column")
        for field, declared in (("fields", self.files.fields), ("time_of", self.files.time_of)):
            unknown = sorted(set(declared) - set(names))
            if unknown:
                raise ValueError(f"files.{field} names {', '.join(unknown)}, which is no column")
        self._refuse_no_groups()
        if self.column(self.time_column).type != "timestamp":
            raise ValueError(f"event_time {self.event_time} must be a timestamp column")
        return self

    @model_validator(mode="after")
    def _names_fit_the_types(self) -> DatasetSpec:
        for column in self.columns:
            if column.type in NO_SCALARS and column.name in self.key:
                raise ValueError(f"key names {column.name}, which is a {column.type}: it must be a number, a word or a time")
            if column.type in NO_SCALARS and (alike := [c.name for c in self.columns if c.name.startswith(f"{column.name}[")]):
                raise ValueError(f"the column {alike[0]} is called as a measure of {column.name} is: give it another name")
        return self

    def _refuse_no_identity(self) -> None:
        """Raises ValueError where nothing names a row, or two things do."""
        if not self.key and not self.row_id:
            raise ValueError(
                "it has no key: name the columns that together identify a row, or where none do, row_id='content' (identical rows are one) "
                "or row_id='position' (every row of every file counts)"
            )
        if self.key and self.row_id:
            raise ValueError(f"row_id is {self.row_id!r}, and its key names rows already ({', '.join(self.key)}): leave one of them out")

    def _refuse_no_groups(self) -> None:
        """Raises ValueError where `groups` names what has no groups."""
        types = {column.name: column.type for column in self.columns}
        for group in self.groups:
            if types.get(group.column) not in ("string", "bool", "int"):
                kind = types.get(group.column)
                raise ValueError(
                    f"groups names {group.column}, which is {f'of type {kind}' if kind else 'no column'}: groups are those of a column of "
                    "type string, bool or int"
                )

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns of the table that identify a row: the key, or the one that is added where there is none."""
        return self.key or (ROW,)

    @property
    def time_column(self) -> str:
        """Column of the table by which rows are ordered: the event time, or when their file landed."""
        return self.event_time or LANDED

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """All columns of the table: those of the files, then those that are added."""
        own = (column for column in self.columns if column.name not in self._joined)
        return (*own, *(column for column in _ADDED if column.name in (*self.key_columns, self.time_column)))

    def joined_with(self, columns: Sequence[Column]) -> DatasetSpec:
        """The dataset as a model sees it whose joins bring these columns; `table_columns` are as before."""
        if not columns:
            return self
        wide = self.model_copy(update={"columns": (*self.columns, *columns)})
        wide._joined = self._joined | {column.name for column in columns}
        return wide

    @model_validator(mode="after")
    def _corrections_fit(self) -> DatasetSpec:
        if self.scores_of:
            return self
        if self.rows == "final" and (self.on_known_key != "refuse" or self.deleted):
            field = "deleted" if self.deleted else "on_known_key"
            raise ValueError(f'{field} is set, and rows="final" says that no row ever changes: write rows="corrected", or remove {field}')
        if self.rows == "corrected" and not self.key:
            raise ValueError('rows="corrected" needs a key: a row is corrected by another one with its key')
        types = {column.name: column for column in self.columns}
        if self.newest_by:
            newest = types.get(self.newest_by)
            if newest is None or newest.type not in ("timestamp", "int", "float") or newest.nullable or newest.name in self.key:
                raise ValueError(
                    f"newest_by names {self.newest_by}: it must be a column of type timestamp, int or float that is not nullable and no key"
                )
        if self.deleted:
            mark = types.get(self.deleted)
            if mark is None or mark.type != "bool" or mark.name in self.key:
                raise ValueError(f"deleted names {self.deleted}: it must be a column of type bool and no key")
        return self

    def column(self, name: str) -> Column:
        """The column of that name, of the table or brought by a join; KeyError if there is none."""
        for column in (*self.columns, *self.table_columns):
            if column.name == name:
                return column
        raise KeyError(name)


_OF_SCORES = {"name", "title", "owner", "alerts", "example", "scores_of", "label_delay_days", "expected", "groups", "compute"}
_ADDED = (
    Column.model_construct(name=ROW, type="string", meaning="Names the row where no column of its file does."),
    Column.model_construct(name=LANDED, type="timestamp", meaning="When the row's file landed, wall time of the dataset's zone."),
)  # not checked: their names are the reserved ones
