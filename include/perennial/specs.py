"""Specs of datasets and models: frozen objects that check themselves. Light: DAG files import this.

>>> from perennial.specs import Column, DatasetSpec
>>> spec = DatasetSpec(
...     name="rides",
...     title="Rides",
...     owner="fleet",
...     columns=[Column(name="ride", type="string"), Column(name="start", type="timestamp"), Column(name="km", type="float")],
...     key=["ride"],
...     event_time="start",
... )
>>> spec.column("km").nullable
False
"""

from __future__ import annotations

import codecs
import math
import re
import unicodedata
from datetime import date
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from perennial.clock import UTC, form_pattern, zone

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
CRON_PART = re.compile(r"(\*|(\d+)(-(\d+))?)(/(\d+))?")

Cause = Literal["data", "drift", "schedule", "manual", "performance", "code", "recalibration"]
ColumnType = Literal["int", "float", "string", "timestamp", "bool", "list", "text", "array", "image"]
ElementType = Literal["", "float", "int", "string"]
MOST_PLACES, IMAGE_AXES = 1_000_000, 2  # of an array or an image
NO_SCALARS: tuple[ColumnType, ...] = (
    "list",
    "text",
    "array",
    "image",
)  # types whose value is no single number, word or time: see `column_types`
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")  # texts that are truth values in any file, in whatever case; as in `encoding`
ROW, LANDED = "_row", "_landed"  # columns that a table adds where its dataset names no key, or no event time
Rows = Literal["final", "corrected"]
OnKnownKey = Literal["refuse", "replace", "keep_first"]
Verdict = Literal["real", "false alarm", "known"]
DriftKind = Literal["shift", "predictions", "nulls", "new category", "correlation", "joint"]
AnomalyDetector = Literal["univariate_sum", "univariate_max", "multivariate", "isolation_forest", "one_class_svm"]

CLASSIFIER_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "calibration_error")
METRICS: dict[str, tuple[str, ...]] = {
    "binary": CLASSIFIER_METRICS,
    "multiclass": CLASSIFIER_METRICS,
    "regression": ("mse", "rmse", "mae"),
}  # that an evaluation gives
CALENDAR_SLICES = ("month", "weekday", "hour")  # of the event time: slices that are no column of a dataset

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # what a person may make of an incident


def cron(line: str) -> str:
    """A cron line: five fields of numbers, ranges, steps and lists. Raises ValueError: a DAG with another one could not be made."""
    fields = line.split()
    if len(fields) != len(CRON_FIELDS):
        raise ValueError(f"{line!r} is no cron line: give minute, hour, day, month and weekday, such as '0 2 * * *'")
    for field, (name, least, most) in zip(fields, CRON_FIELDS, strict=True):
        for part in field.split(","):
            match = CRON_PART.fullmatch(part)
            first, last = (int(match[2] or least), int(match[4] or match[2] or most)) if match else (most, least)
            if not (match and least <= first <= last <= most and int(match[6] or 1) > 0):
                raise ValueError(
                    f"{part!r} in the cron line {line!r} is no {name}: numbers go from {least} to {most}, such as 5, 1-5, */15"
                )
    return line


CronLine = Annotated[str, AfterValidator(cron)]


class Spec(BaseModel):
    """Base of all specs: immutable, keyword-only, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Spec):
    """A spec with a name and an owner."""

    name: str = Field(description="Lower-case name, used for file, folder, DAG and table.")
    title: str = Field(description="Name for people, as reports show it.")
    owner: str = Field(description="Responsible person or team.")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name: use lower-case letters, digits and underscores, a letter first, at most 40")
        return name


class Column(Spec):
    """One column of a dataset."""

    name: str = Field(
        description="Column name, without blanks around it. Names that begin with `_` are reserved for columns that tables add."
    )
    type: ColumnType = Field(
        description="Type in the table. `string` names a category or an id, `text` is free text that is read for its words, "
        "`list` holds numbers or words: see `of`. `array` is as many numbers as its `shape` has places, `image` a PNG or JPEG picture."
    )
    of: ElementType = Field(default="", description="What a `list` holds: `float`, `int` or `string`; or an `array`: `float` or `int`.")
    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="Lengths of the axes of an `array`, or the height and width to which an `image` is brought, in pixels."
    )
    mode: Literal["", "L", "RGB"] = Field(
        default="", description="To what an `image` is brought: `L` (grey, one number for each pixel) or `RGB` (three)."
    )
    longest: int | None = Field(
        default=None,
        ge=1,
        description="Most elements of a `list` (10,000 if unset), characters of a `text` (100,000) or bytes of an `image` (10 MB), "
        "in files and in requests.",
    )
    nullable: bool = Field(default=False, description="Whether the value may be missing.")
    meaning: str = Field(default="", description="What the value means, with its unit.")

    @field_validator("name")
    @classmethod
    def _is_a_column_name(cls, name: str) -> str:
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise ValueError(
                f"{name!r} is no column name: give it at least one sign that can be seen, no blanks around it and no line breaks"
            )
        if name.startswith("_"):
            raise ValueError(f"{name!r} is no column name: names that begin with _ are those of columns that tables add")
        return name

    @model_validator(mode="after")
    def _says_what_it_holds(self) -> Column:
        if self.type == "list" and not self.of:
            raise ValueError(f"{self.name} is a list, and of what is not said: write of='float', of='int' or of='string'")
        if self.type == "array" and (self.of not in ("float", "int") or not self.shape):
            raise ValueError(f"{self.name} is an array: write of='float' or of='int', and the lengths of its axes as shape=(8, 8)")
        if self.type == "image" and (len(self.shape) != IMAGE_AXES or not self.mode):
            raise ValueError(f"{self.name} is an image: write its height and width as shape=(28, 28), and mode='L' or mode='RGB'")
        for field, has, types in (
            (f"of={self.of!r}", self.of, ("list", "array")),
            ("shape", self.shape, ("array", "image")),
            ("mode", self.mode, ("image",)),
            ("longest", self.longest, ("list", "text", "image")),
        ):
            if has and self.type not in types:
                raise ValueError(f"{self.name} has {field}, which only {' or '.join(types)} columns have: its type is {self.type}")
        if math.prod(self.shape) > MOST_PLACES:
            raise ValueError(f"{self.name} has {math.prod(self.shape):,} places, and {MOST_PLACES:,} are the most")
        return self


class Toleration(Spec):
    """A Kubernetes toleration of a stage's pod."""

    key: str = Field(default="", description="Key of the taint; any key if empty (with `operator` `Exists`).")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="`Equal`: the taint's value must be `value`; `Exists`: any value."
    )
    value: str = Field(default="", description="Value of the taint.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="Effect of the taint; all effects if empty."
    )


class ComputeSpec(Spec):
    """Resources that a stage may use. On one machine only CPU threads, GPUs and nodes matter; for a pod all of them are limits."""

    cpus: int = Field(default=2, ge=1, description="CPU threads for training; CPUs of a stage's pod.")
    memory_gb: float = Field(default=4, gt=0, description="Memory for the stage, GB.")
    gpus: int = Field(default=0, ge=0, description="GPUs of each node; 0 trains on the CPU.")
    nodes: int = Field(default=1, ge=1, description="Machines that train one model together.")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Name of the Kubernetes resource for GPUs.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels that the nodes of a stage's pod must have.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Tolerations of a stage's pod.")
    runtime_class: str = Field(default="", description="Kubernetes runtime class of a stage's pod; the cluster's default if empty.")
    queue: str = Field(default="", description="Kueue queue in which a stage's pod waits for resources; none if empty.")


class FileForm(Spec):
    """How the files of a dataset are written. What is not declared here is never guessed: the refusal names what the file seems to have."""

    separator: str = Field(default=",", description="Sign between the fields of a CSV file, such as `;`, `|` or a tab.")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of numbers that are written as text.")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        default="",
        description="Sign between groups of three digits of numbers that are written as text; none if empty. "
        "A blank stands for any blank, also one that does not break.",
    )
    encoding: str = Field(default="utf-8", description="Encoding of text files, such as `latin-1`, `cp1252` or `utf-16`.")
    nulls: tuple[str, ...] = Field(
        default=(), description="Words that mean that a value is missing, besides the empty field. In CSV a quoted word stays a text."
    )
    true: tuple[str, ...] = Field(default=(), description="Words for true besides `true`, `yes` and `1`, in whatever case.")
    false: tuple[str, ...] = Field(default=(), description="Words for false besides `false`, `no` and `0`, in whatever case.")
    times: tuple[str, ...] = Field(
        default=(),
        description="How times are written besides ISO 8601, such as `%d.%m.%Y %H:%M`, `epoch seconds` or `epoch milliseconds`; "
        "the first that fits is taken.",
    )
    header: Literal["exact", "any case"] = Field(
        default="exact",
        description="Whether upper and lower case of column names must be those of the spec. Blanks around names never count.",
    )
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="What files call a column if not by its name: another header, or the path of a nested field, such as `where.city`.",
    )
    time_of: dict[str, tuple[str, str]] = Field(
        default_factory=dict,
        description='Times that files have in two columns, a day and an hour of the day: `{"at": ("day", "hour")}`. '
        "The hour is a whole number or a time of the day. Neither need be a column of the spec.",
    )
    records: str = Field(
        default="", description="Path to the array of rows in a JSON file, such as `data.items`; the file itself if empty."
    )
    sheet: str = Field(default="", description="Sheet of an Excel or OpenDocument file that has the rows; the only one if empty.")
    header_row: int = Field(
        default=1, ge=1, description="Row of the sheet that has the names of the columns; what stands above it is left out."
    )
    extra: Literal["refuse", "drop", "keep"] = Field(
        default="refuse",
        description="What becomes of columns that the spec does not have: the file is refused, they are left out, or they are kept in the "
        "table as JSON in one text column, `_extra`.",
    )

    @field_validator("separator")
    @classmethod
    def _is_one_sign(cls, separator: str) -> str:
        if len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in '"\r\n':
            raise ValueError(f"{separator!r} is no separator: give one sign such as ';', '|' or '\\t'")
        return separator

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, encoding: str) -> str:
        try:
            is_text = codecs.lookup(encoding)._is_text_encoding
        except LookupError:
            is_text = False
        if not is_text:
            raise ValueError(f"{encoding!r} is no encoding: give a name such as utf-8, latin-1, cp1252 or utf-16")
        return encoding

    @field_validator("times")
    @classmethod
    def _are_time_forms(cls, times: tuple[str, ...]) -> tuple[str, ...]:
        for form in times:
            form_pattern(form)
        return times

    @model_validator(mode="after")
    def _marks_differ(self) -> FileForm:
        if self.decimal == self.thousands:
            raise ValueError(f"{self.decimal!r} cannot be the decimal mark and part thousands")
        true, false = ({*always, *(word.casefold() for word in words)} for always, words in ((TRUE, self.true), (FALSE, self.false)))
        both = true & false
        if both:
            raise ValueError(f"{', '.join(sorted(both))} cannot mean true and false")
        return self


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

    columns: tuple[Column, ...] = Field(min_length=1, description="All columns, in table order.")
    key: tuple[str, ...] = Field(
        default=(), description="Columns that identify a row uniquely, over all batches. If there are none, `row_id` says what names a row."
    )
    row_id: Literal["", "content", "position"] = Field(
        default="",
        description="What names a row where no column does, in a column `_row` that the table adds. `content`: a hash of its values, "
        "so that identical rows are one row, and the others are dropped and counted. `position`: the name of its file and its place there.",
    )
    event_time: str = Field(
        description="Timestamp column by which rows are ordered, split and put into windows. Empty if rows have no time: "
        "then the time at which their file landed counts, in a column `_landed` that the table adds."
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
        "and is not stored; it needs no more than its key and `newest_by`.",
    )
    time_zone: str = Field(
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
    freshness_days: float | None = Field(
        default=None, description="Oldest event time that is accepted, in days before the newest one in the table; no limit if unset."
    )
    files: FileForm = Field(
        default=FileForm(), description="How its files are written. `perennial add dataset --sample` proposes what it finds."
    )
    groups: tuple[GroupSpec, ...] = Field(
        default=(),
        description="Columns whose groups must be represented: each batch is compared with the rows that are in, and an evaluation shows "
        "labels and gaps by group. The name of a column alone stands for a `GroupSpec` of it.",
    )
    compute: ComputeSpec = Field(default=ComputeSpec(), description="Resources for ingestion.")

    @field_validator("groups", mode="before")
    @classmethod
    def _may_be_names(cls, groups: object) -> object:
        if isinstance(groups, (tuple, list)):
            return tuple(GroupSpec(column=group) if isinstance(group, str) else group for group in groups)
        return groups

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        zone(name)
        return name

    @model_validator(mode="after")
    def _columns_exist(self) -> DatasetSpec:
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
        if not self.key and not self.row_id:
            raise ValueError(
                "it has no key: name the columns that together identify a row, or where none do, row_id='content' (identical rows are one) "
                "or row_id='position' (every row of every file counts)"
            )
        if self.key and self.row_id:
            raise ValueError(f"row_id is {self.row_id!r}, and its key names rows already ({', '.join(self.key)}): leave one of them out")
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
        return (*self.columns, *(column for column in _ADDED if column.name in (*self.key_columns, self.time_column)))

    @model_validator(mode="after")
    def _corrections_fit(self) -> DatasetSpec:
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
        """The column of the table of that name; KeyError if there is none."""
        for column in self.table_columns:
            if column.name == name:
                return column
        raise KeyError(name)


_ADDED = (
    Column.model_construct(name=ROW, type="string", meaning="Names the row where no column of its file does."),
    Column.model_construct(name=LANDED, type="timestamp", meaning="When the row's file landed, wall time of the dataset's zone."),
)  # not checked: their names are the reserved ones


class SplitSpec(Spec):
    """How a snapshot is split: by event time (... train | validation | test -> newest), by groups, or at random."""

    by: Literal["time", "group", "random"] = Field(
        default="time",
        description="`time`: whole days, the newest for test. `group`: all rows of a group are in one part. `random`: each row by itself, "
        "where times mean nothing. The last two assign by a hash, so that a row keeps its part when others come.",
    )
    group: tuple[str, ...] = Field(default=(), description="Columns that together name a group, with `by='group'`.")
    test_days: int = Field(default=7, ge=1, description="By time: newest labelled days, used for evaluation only.")
    validation_days: int = Field(default=7, ge=1, description="By time: days before the test days, for early stopping and calibration.")
    train_days: int | None = Field(default=None, ge=1, description="By time: days before the validation days; all of them if unset.")
    test_share: float = Field(default=0.2, gt=0, lt=1, description="By group or at random: share of the groups or rows for test.")
    validation_share: float = Field(default=0.1, gt=0, lt=1, description="By group or at random: share for early stopping and calibration.")
    seed: int = Field(default=2013, ge=0, description="By group or at random: another seed gives another assignment.")
    min_train_rows: int = Field(default=500, ge=1, description="Training is refused with fewer labelled training rows than this.")
    max_unknown_labels: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Largest accepted share of labels that are not a class of the model. Such rows are left out and reported; "
        "with a larger share training is refused.",
    )

    @model_validator(mode="after")
    def _says_what_it_means(self) -> SplitSpec:
        if (self.by == "group") != bool(self.group):
            raise ValueError("by='group' and group=(columns) belong together: name the columns that rows of one group share")
        if self.by != "time" and (days := sorted(self.model_fields_set & {"test_days", "validation_days", "train_days"})):
            raise ValueError(f"{', '.join(days)} cut by time, and the split is by {self.by}: give test_share and validation_share")
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share leave nothing to train on: together they must be below 1")
        return self

    def parameters(self) -> dict[str, str | int | float | None]:
        """What decides which rows train, flat; a split by time has its days alone."""
        if self.by == "time":
            return {name: getattr(self, name) for name in ("test_days", "validation_days", "train_days", "min_train_rows")}
        shares = {name: getattr(self, name) for name in ("test_share", "validation_share", "min_train_rows")}
        return {"split_by": self.by, "split_group": ",".join(self.group), **shares, "split_seed": self.seed}


class TrainingSpec(Spec):
    """How the LightningModule is trained."""

    max_epochs: int = Field(default=30, ge=1, description="Maximum number of passes over the training split.")
    patience: int = Field(default=4, ge=1, description="Early stopping: epochs without a better validation loss.")
    batch_size: int = Field(default=1024, ge=1, description="Rows of one gradient step, over all devices and nodes together.")
    seed: int = Field(default=2013, ge=0, description="Seed of every random choice.")
    hyperparameters: dict[str, float | int | str | bool] = Field(default_factory=dict, description="Passed to the model's constructor.")


class GateSpec(Spec):
    """The gate: what a candidate must show before it is registered."""

    metric: Literal["log_loss", "rmse", "mse"] = Field(
        default="log_loss",
        description="Metric in which the margins are measured: `log_loss` for a classifier, `rmse` or `mse` for a regression. "
        "Candidate and champion are compared row by row, by log loss or squared error.",
    )
    floors: dict[str, float] = Field(description="Worst acceptable value of each metric on the test split.")
    margin: float = Field(
        default=0.05,
        ge=0,
        description="How much worse than the champion a candidate may be, as a share of the champion's `metric` on the same rows. "
        "For `rmse` this is a larger share of the squared errors compared: 0.05 allows 1.05² of them. "
        "With 0 only a candidate that is shown to be better passes.",
    )
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Chance of registering a candidate that is worse by `margin` or more.")
    old_context_margin: float = Field(
        default=0.05,
        ge=0,
        description="How much worse a candidate may be on a slice of older data, as a share of the champion's `metric` there.",
    )
    resamples: int = Field(default=2000, ge=200, description="Number of bootstrap resamples.")


class ReleaseSpec(Spec):
    """How traffic moves to a candidate."""

    mode: Literal["automatic", "approval", "manual"] = Field(
        default="automatic",
        description="How a release starts: automatically, after a person's approval, or only when a person starts it.",
    )
    shadow: bool = Field(
        default=False, description="Begin with a shadow: live traffic is mirrored to the candidate, and callers never see its answers."
    )
    steps: tuple[int, ...] = Field(default=(5, 25, 50, 100), description="Canary steps: percent of traffic at each step.")
    min_requests: int = Field(default=100, ge=1, description="Requests that the candidate must answer on a step before it may advance.")
    min_seconds: float = Field(default=10, ge=0, description="Shortest time on a step, seconds.")
    max_seconds: float = Field(
        default=3600, gt=0, description="Longest time on a step without a decision, seconds; then a person is asked."
    )
    observe_seconds: float = Field(default=3, gt=0, description="Time between two looks at the evidence, seconds.")
    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="False-alarm rate: chance of rolling back a candidate that is as good as the champion, over the whole release.",
    )
    max_error_ratio: float = Field(
        default=2.0, gt=1, description="Promotion needs evidence that the error rate is below this multiple of the champion's."
    )
    max_error_rate: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="If errors are too rare to compare (fewer than 10 in both arms), "
        "promotion needs evidence that the error rate is below this.",
    )
    promotion_alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="Chance of promoting a candidate whose error rate is at these limits."
    )
    max_latency_ratio: float = Field(
        default=2.0,
        ge=1,
        description="Slow requests are those above the champion's 95th percentile of latency. It counts against the candidate "
        "if its share of them is more than this multiple of the champion's.",
    )

    @model_validator(mode="after")
    def _steps_rise_to_all(self) -> ReleaseSpec:
        if list(self.steps) != sorted(set(self.steps)) or not self.steps or self.steps[-1] != 100 or self.steps[0] < 1:
            raise ValueError(f"steps are {self.steps}: they must rise and end at 100")
        return self


class RetrainSpec(Spec):
    """When training and recalibration start automatically."""

    schedule: CronLine = Field(default="0 2 * * *", description="Cron line of the nightly check for something new to train on (UTC).")
    on_drift: Literal["confirmed", "with_performance", "never"] = Field(
        default="confirmed",
        description="Whether confirmed drift requests retraining: always, only together with a jump of the loss, or never.",
    )
    drift_windows: int = Field(default=2, ge=1, description="Drift is confirmed after this many windows in a row that show it.")
    max_age_days: float | None = Field(
        default=30, gt=0, description="Retraining is requested when the champion's snapshot is older than this, by event time."
    )
    cooldown_days: float = Field(
        default=7, ge=0, description="Minimum number of days, by event time, between the last training and an automatic request."
    )
    on_new_snapshot: Literal["always", "when_due"] = Field(
        default="when_due", description="Whether every new snapshot starts a training, or only if age, drift or performance call for one."
    )
    cost: float = Field(
        default=0.0005,
        ge=0,
        description="Cost of one retraining, in units of the mean loss over the whole history. `perennial replay` adds it for each "
        "retraining, so that policies that train more often can be compared with those that train less.",
    )
    recalibrate: bool = Field(
        default=True,
        description="Whether the champion's scores are recalibrated on newly labelled days: other scale and shift, same weights.",
    )
    recalibrate_schedule: CronLine = Field(default="30 3 * * *", description="Cron line of the daily recalibration (UTC).")
    recalibrate_days: int = Field(default=14, ge=1, description="Maximum number of labelled days to which scale and shift are fitted.")
    recalibrate_judged_days: int = Field(
        default=5,
        ge=5,
        description="Newest labelled days, held out from the fit. On them the recalibrated version must be shown to be better "
        "than the champion. At least five, since fewer do not show how days differ.",
    )
    recalibrate_alpha: float = Field(
        default=0.35,
        gt=0,
        lt=0.5,
        description="Chance of registering a recalibrated version that is no better than the champion. Larger than the gate's: "
        "with two parameters there is little to lose, and a strict test would be too late for a season.",
    )
    recalibrate_weight: float = Field(
        default=0.1,
        ge=0,
        description="Regularisation of the recalibration towards no change: weight of its squared distance from no change, relative to "
        "the mean loss over `recalibrate_days` days; proportionally larger if there are fewer days.",
    )
    recalibrate_min_labels: int = Field(default=500, ge=1, description="Minimum number of labelled predictions for a recalibration.")


class EffectLimits(NamedTuple):
    """Limits from which a statistically significant change counts as drift, and as an alarm."""

    drift: float  # from here on it is drift
    alarm: float  # from here on it alarms as well


class MonitoringSpec(Spec):
    """What monitoring compares, how often, and from which size a change matters."""

    schedule: CronLine = Field(default="*/30 * * * *", description="Cron line of the monitoring DAG (UTC).")
    window_days: int = Field(default=1, ge=1, description="Days of event time in one window.")
    reference_days: int = Field(default=90, ge=2, description="Newest days of the champion's snapshot: the reference for drift.")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="False-alarm rate of the drift test over all columns together.")
    min_shift: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="A change of an input counts as drift if at least this share of rows moved; for numbers, only moves farther than "
        "`tolerance_sd` count.",
    )
    tolerance_sd: float = Field(
        default=0.03, ge=0, description="Tolerance: moves of a number up to this many standard deviations of the reference are ignored."
    )
    min_nulls: float = Field(default=0.001, ge=0, le=1, description="Drift: smallest change in the share of missing values.")
    min_new_category: float = Field(
        default=0.0, ge=0, le=1, description="Drift: smallest share of rows with a category that is not in the reference."
    )
    min_correlation: float = Field(default=0.1, ge=0, le=2, description="Drift: smallest change of a correlation between two columns.")
    min_joint: float = Field(
        default=0.02,
        ge=0,
        description="Drift: smallest distance of all columns together (maximum mean discrepancy: 0 identical, 1 nothing in common).",
    )
    min_predictions: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Drift: smallest share of predictions that moved to another score or class.",
    )
    alarm_shift: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Alarm: smallest share of rows that moved, for drift of an input or of the predictions. Such drift also requests "
        "retraining once it lasts. Smaller drift is only reported.",
    )
    alarm_nulls: float = Field(default=0.01, ge=0, le=1, description="Alarm: smallest change in the share of missing values.")
    alarm_new_category: float = Field(default=0.01, ge=0, le=1, description="Alarm: smallest share of rows with a new category.")
    alarm_correlation: float = Field(default=0.2, ge=0, le=2, description="Alarm: smallest change of a correlation.")
    alarm_joint: float = Field(default=0.1, ge=0, description="Alarm: smallest distance of all columns together.")
    excess_loss: float = Field(default=0.01, gt=0, description="Jump of the loss: smallest excess of the realised over the expected loss.")
    anomaly_detector: AnomalyDetector = Field(
        default="multivariate",
        description="How anomalous requests are detected: by a Gaussian of each column (`univariate_sum`, `univariate_max`), "
        "a Gaussian of all columns (`multivariate`), an isolation forest or a one-class SVM.",
    )
    alarms_per_day: float = Field(
        default=3, gt=0, description="Budget of false alarms: anomalous requests a day while nothing is wrong. It determines the threshold."
    )

    def limits(self, kind: DriftKind) -> EffectLimits:
        """The drift limit and the alarm limit for this kind of finding."""
        limits: dict[DriftKind, EffectLimits] = {
            "shift": EffectLimits(self.min_shift, self.alarm_shift),
            "predictions": EffectLimits(self.min_predictions, self.alarm_shift),
            "nulls": EffectLimits(self.min_nulls, self.alarm_nulls),
            "new category": EffectLimits(self.min_new_category, self.alarm_new_category),
            "correlation": EffectLimits(self.min_correlation, self.alarm_correlation),
            "joint": EffectLimits(self.min_joint, self.alarm_joint),
        }
        return limits[kind]


class ServingSpec(Spec):
    """How a version is served."""

    threads: int = Field(default=4, ge=1, description="Threads of the serving process.")
    start_seconds: float = Field(default=60, gt=0, description="Longest time for a new version to become ready, seconds.")
    timeout_seconds: float = Field(default=10, gt=0, description="Longest time a request may take, seconds.")
    strict: bool = Field(
        default=False,
        description="Whether to refuse a request with a field that the version does not know. Otherwise the field is ignored "
        "and listed in the answer.",
    )
    cpus: float = Field(default=1, gt=0, description="CPUs of each replica (Kubernetes).")
    memory_gb: float = Field(default=1, gt=0, description="Memory of each replica, GB (Kubernetes).")
    replicas: int = Field(
        default=1, ge=1, description="Minimum number of replicas of the champion (Kubernetes; on one machine it is one process)."
    )
    max_replicas: int = Field(default=1, ge=1, description="Maximum number of replicas of a version, scaled by CPU load (Kubernetes).")

    @model_validator(mode="after")
    def _replicas_rise(self) -> ServingSpec:
        if self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, less than replicas, {self.replicas}")
        return self


class LabelSpec(Spec):
    """Labels that come after the rows: a dataset of their own, the label feed, joined to the rows as of the snapshot."""

    dataset: str = Field(
        description="The label feed: a dataset with the key, the label columns and the time at which each label became known. "
        "Several rows of one key are several labels: the latest one known counts, and an empty one takes the label back."
    )
    key: tuple[str, ...] = Field(
        min_length=1, description="Columns that join a label to its row, of the same name and type in both datasets."
    )
    columns: tuple[str, ...] = Field(
        min_length=1, description="Label columns that the feed brings. One of the same name in the model's dataset is not read."
    )
    known_at: str = Field(
        description="Timestamp column of the feed: when the label became known. A snapshot has only labels that were known by its moment, "
        "which is the newest time in rows and feed."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> LabelSpec:
        names = [*self.key, *self.columns, self.known_at]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"key, columns and known_at name {', '.join(twice)} twice: each is a column of its own")
        return self


class ModelSpec(Named):
    """One model: what it predicts from which dataset, and how it is trained, released, watched and served."""

    dataset: str = Field(description="Dataset that the model learns from.")
    task: Literal["binary", "multiclass", "regression"] = Field(description="Kind of prediction.")
    inputs: tuple[str, ...] = Field(min_length=1, description="Columns in a prediction request; all must be known at prediction time.")
    label: str = Field(description="Column of the dataset, or of the label feed, from which the label is made (`features.label`).")
    labels: LabelSpec | Literal["outcomes"] | None = Field(
        default=None,
        description="Label feed, where labels come after the rows. `outcomes`: the model learns from what was served, too: the inputs of "
        "its predictions as they were logged, with the outcomes that were reported. If unset, rows have their label.",
    )
    served_since: date | None = Field(
        default=None,
        description="With `labels` `outcomes`: the first day of event time whose rows are the predictions that were served; before it they "
        "are those of the dataset. If unset, the key tells them apart (all its columns must be inputs): of a row and a prediction of one "
        "key the prediction counts once its outcome is known, else the row.",
    )
    classes: tuple[str, ...] = Field(default=(), description="Class names of a classifier, in the order of the scores.")
    slices: tuple[str, ...] = Field(default=(), description="Columns by which evaluation is broken down.")
    split: SplitSpec = Field(default=SplitSpec(), description="How snapshots are split.")
    compute: ComputeSpec = Field(default=ComputeSpec(), description="Resources for training.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="How it is trained.")
    gate: GateSpec = Field(description="What a candidate must show.")
    release: ReleaseSpec = Field(default=ReleaseSpec(), description="How traffic moves to a candidate.")
    retrain: RetrainSpec = Field(default=RetrainSpec(), description="When training starts automatically.")
    monitoring: MonitoringSpec = Field(default=MonitoringSpec(), description="What monitoring looks at.")
    serving: ServingSpec = Field(default=ServingSpec(), description="How it is served.")

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> ModelSpec:
        if (self.task == "regression") == bool(self.classes):
            raise ValueError(f"a {self.task} model has {'no classes' if self.task == 'regression' else 'classes'}")
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError("a binary model has two classes, the positive one last")
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that a training reads: the model's own, and its label feed if it has one."""
        return (self.dataset, *((self.feed.dataset,) if self.feed else ()))

    @property
    def feed(self) -> LabelSpec | None:
        """Its label feed, if it has one."""
        return self.labels if isinstance(self.labels, LabelSpec) else None

    @property
    def learns_from_outcomes(self) -> bool:
        """Whether it learns from its own predictions, with the outcomes that were reported."""
        return self.labels == "outcomes"

    def misfit(self, dataset: DatasetSpec, feed: DatasetSpec | None = None) -> tuple[str, str] | None:
        """The first name in this spec that the datasets do not have, with a clause that says so; None if the model fits them.

        Args:
            dataset: that the model learns from.
            feed: its label feed, if it has one.
        """
        if self.feed and feed and (wrong := self._feed_misfit(self.feed, dataset, feed)):
            return wrong
        columns, later = {column.name for column in dataset.columns}, set(self.feed.columns if self.feed else ())
        if early := [name for name in self.inputs if name in later]:
            return early[0], f"its inputs name {', '.join(early)}, which its label feed brings: at prediction time it is not known"
        for names, wanted, known in (
            ("inputs name", self.inputs, columns),
            ("label is", (self.label,), columns | later),
            ("slices name", self.slices, columns | later | set(CALENDAR_SLICES)),
            ("split.group names", self.split.group, columns),
        ):
            if missing := [name for name in wanted if name not in known]:
                return missing[0], f"its {names} {', '.join(missing)}, which the dataset {dataset.name} does not have"
        for names, wanted in (("label is", (self.label,)), ("slices name", self.slices), ("split.group names", self.split.group)):
            for column in (*dataset.columns, *(feed.columns if self.feed and feed else ())):
                if column.name in wanted and column.type in NO_SCALARS:
                    return column.name, f"its {names} {column.name}, which is a {column.type}: it must be a number, a word or a time"
        return self._served_misfit(dataset) if self.learns_from_outcomes else None

    def _served_misfit(self, dataset: DatasetSpec) -> tuple[str, str] | None:
        """The first name for which predictions cannot stand among the rows of the dataset, and why."""
        if self.label in self.inputs:
            return self.label, f"its inputs name its label {self.label}: an outcome is not known at prediction time"
        if self.served_since is None and (unknown := [name for name in dataset.key_columns if name not in self.inputs]):
            return "labels", (
                f'its labels are "outcomes", and a prediction cannot be told from a row of {dataset.name}: its inputs lack '
                f"{', '.join(unknown)} of the key. Say from which day on the predictions count in place of the rows, such as "
                'served_since="2026-01-01", or add the key to the inputs'
            )
        decides = {"time": (), "group": self.split.group, "random": dataset.key_columns}[self.split.by]
        if unknown := [name for name in decides if name not in self.inputs]:
            return unknown[0], (
                f"its split by {self.split.by} goes by {', '.join(unknown)}, which is no input, so that its predictions have none: "
                'split by "time", or add it to the inputs'
            )
        return None

    def _feed_misfit(self, labels: LabelSpec, dataset: DatasetSpec, feed: DatasetSpec) -> tuple[str, str] | None:
        """The first name for which labels cannot be joined to the rows, and why."""
        for field, wanted, source in (
            ("key", labels.key, dataset),
            ("key", labels.key, feed),
            ("columns", labels.columns, feed),
            ("known_at", (labels.known_at,), feed),
        ):
            names = {column.name for column in source.columns}
            if missing := [name for name in wanted if name not in names]:
                return missing[0], f"its labels.{field} names {', '.join(missing)}, which the dataset {source.name} does not have"
        for name in labels.key:
            if dataset.column(name).type in NO_SCALARS:
                return name, f"its labels.key {name} is a {dataset.column(name).type}: it must be a number, a word or a time"
            types = [source.column(name).type for source in (dataset, feed)]
            if types[0] != types[1]:
                return name, f"its labels.key {name} is {types[0]} in {dataset.name} and {types[1]} in {feed.name}: they must be the same"
        known_at, of_feed = feed.column(labels.known_at), f"its label feed {feed.name} has"
        takes_corrections = feed.key and set(feed.key) <= {*labels.key, labels.known_at}
        checks = (
            (self.label, self.label in labels.columns, f"its label is {self.label}, which labels.columns does not name"),
            (
                known_at.name,
                known_at.type == "timestamp" and not known_at.nullable,
                f"its labels.known_at {known_at.name} must be a timestamp column of {feed.name} that is never missing",
            ),
            (
                feed.name,
                takes_corrections,
                f"{of_feed} the key {', '.join(feed.key) or '(none)'}: it must be {', '.join((*labels.key, labels.known_at))}, "
                "so that a later label of the same row can land",
            ),
            (
                feed.name,
                feed.time_zone == dataset.time_zone,
                f"{of_feed} the time zone {feed.time_zone} and its dataset {dataset.name} {dataset.time_zone}: give them the same",
            ),
        )
        return next(((word, why) for word, holds, why in checks if not holds), None)

    @model_validator(mode="after")
    def _served_since_fits(self) -> ModelSpec:
        if self.served_since and not self.learns_from_outcomes:
            raise ValueError('served_since says which predictions a model learns from: set labels="outcomes", or leave it out')
        return self

    @model_validator(mode="after")
    def _metric_fits_the_task(self) -> ModelSpec:
        if (self.task == "regression") == (self.gate.metric == "log_loss"):
            fitting = "rmse or mse" if self.task == "regression" else "log_loss"
            raise ValueError(f"the gate of a {self.task} model has the metric {fitting}, not {self.gate.metric}")
        if unknown := sorted(set(self.gate.floors) - set(METRICS[self.task])):
            raise ValueError(
                f"the gate's floors name {', '.join(unknown)}, which is no metric of a {self.task} model: {', '.join(METRICS[self.task])}"
            )
        return self


def stand_in(name: str) -> ModelSpec:
    """A substitute for a spec that is broken or gone, for uses that need only the name and the serving settings.

    It names no dataset and has the default serving settings."""
    gate = GateSpec(metric="rmse", floors={})
    return ModelSpec(name=name, title=name, owner="perennial", dataset="", task="regression", inputs=("",), label="", gate=gate)
