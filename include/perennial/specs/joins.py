"""A join: columns of another dataset that a model reads, as they were known at the moment of each of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import Field, model_validator

from perennial.specs.base import Spec
from perennial.specs.columns import NO_SCALARS, Column
from perennial.specs.datasets import DatasetSpec


class JoinSpec(Spec):
    """Columns of another dataset, as they were known at the moment of each row: its event time."""

    dataset: str = Field(
        description="The joined dataset. Of its rows with the row's key those count that happened by the row's moment, were known by then "
        "and are not older than the horizon; of these the one of the newest event time, and of one event time the one that was known last."
    )
    key: tuple[str, ...] = Field(min_length=1, description="Columns of the model's dataset that find the joined rows.")
    key_there: tuple[str, ...] = Field(
        default=(), description="What these columns are called in the joined dataset, in the same order, if otherwise. Types are equal."
    )
    columns: tuple[str, ...] = Field(
        min_length=1, description="Columns that it brings; they are null where no joined row counts. `inputs` and `slices` may name them."
    )
    prefix: str = Field(default="", description="Put before the names of the columns that it brings.")
    horizon_days: float = Field(
        gt=0, description="How old a joined row may be at the row's moment, in days of its event time. The server has the same limit."
    )
    known_at: str = Field(
        default="",
        description="Timestamp column of the joined dataset: when a row became known. If unset, it is known since its batch was taken in.",
    )
    history_until: datetime | None = Field(
        default=None,
        description="Joined rows that were taken in by this wall time of the dataset's zone are a history that was loaded at once: they "
        "count as known `history_delay_hours` after their event time. If unset, no row counts before it was taken in.",
    )
    history_delay_hours: float = Field(
        default=0, ge=0, description="Of a history that was loaded at once: hours from the event time of a row until it was usually known."
    )

    @property
    def key_pairs(self) -> tuple[tuple[str, str], ...]:
        """Each column of the key, as it is called in the model's dataset and in the joined one."""
        return tuple(zip(self.key, self.key_there or self.key, strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it brings, as the model calls them."""
        return tuple(self.prefix + name for name in self.columns)

    @model_validator(mode="after")
    def _fits_together(self) -> JoinSpec:
        if self.key_there and len(self.key_there) != len(self.key):
            raise ValueError(f"key_there names {len(self.key_there)} columns, and key {len(self.key)}: each has one counterpart")
        if self.prefix.startswith("_"):
            raise ValueError(f"prefix is {self.prefix!r}: names that begin with _ are those of columns that tables add")
        for field, names in (("key", self.key), ("key_there", self.key_there), ("columns", self.columns)):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field} names {', '.join(twice)} twice")
        if self.history_until and self.history_until.tzinfo:
            raise ValueError("history_until has an offset: write it as wall time of the dataset's zone, such as 2026-03-01T12:00")
        if self.history_until and self.known_at:
            raise ValueError(f"history_until is for rows of which nobody noted when they were known, and known_at is {self.known_at}")
        if self.history_delay_hours and not self.history_until:
            raise ValueError("history_delay_hours is set, and history_until does not say which rows are the history")
        return self

    def misfit(self, dataset: DatasetSpec, joined: DatasetSpec) -> tuple[str, str] | None:
        """The first name that the datasets do not have as the join needs it, with a clause that says so; None if it fits.

        Args:
            dataset: of the model.
            joined: the joined one.
        """
        return next(self._misfits(dataset, joined), None)

    def _misfits(self, dataset: DatasetSpec, joined: DatasetSpec) -> Iterator[tuple[str, str]]:
        whose = f"its join of {joined.name}"
        if joined.name == dataset.name:
            yield joined.name, f"its joins name its own dataset {joined.name}: a row would find itself"
        for field, names, source in (
            ("key", self.key, dataset),
            ("key_there" if self.key_there else "key", self.key_there or self.key, joined),
            ("columns", self.columns, joined),
            ("known_at", (self.known_at,) if self.known_at else (), joined),
        ):
            known = {column.name for column in source.table_columns}
            for name in names:
                if name not in known:
                    yield name, f"{whose} has the {field} {name}, which the dataset {source.name} has not"
        for here, there in self.key_pairs:
            kind, other = dataset.column(here).type, joined.column(there).type
            if kind != other:
                yield here, f"{whose} has the key {here}, which is {kind} in {dataset.name} and {other} there"
            if kind in (*NO_SCALARS, "float"):
                yield here, f"{whose} has the key {here}, which is a {kind}: it must be a whole number, a word or a time"
        own = {column.name.casefold() for column in dataset.table_columns}
        for name in self.names:
            if name.casefold() in own:
                yield name, f"{whose} brings {name}, which {dataset.name} has itself: set prefix"
        if self.known_at and (joined.column(self.known_at).type != "timestamp" or joined.column(self.known_at).nullable):
            yield self.known_at, f"its join's known_at {self.known_at} must be a timestamp column of {joined.name} that is never missing"
        if self.known_at and (joined.deleted or joined.on_known_key == "replace"):
            why = "rows are replaced or deleted when another batch is taken in"
            advice = 'leave out known_at, or let each correction be a row of its own (rows="final", the time in the key)'
            yield self.known_at, f"its join reads known_at of {joined.name}, whose {why}: {advice}"
        if joined.time_zone != dataset.time_zone:
            zones = f"the time zone {joined.time_zone} and its dataset {dataset.name} {dataset.time_zone}"
            yield joined.name, f"its joined dataset {joined.name} has {zones}: give them the same"


def brought_by(joins: Sequence[JoinSpec], datasets: Mapping[str, DatasetSpec]) -> tuple[Column, ...]:
    """The columns that joins bring, as the model sees them: each may be missing.

    Args:
        joins: of the model.
        datasets: the joined ones, by name.
    """
    return tuple(
        datasets[join.dataset].column(name).model_copy(update={"name": join.prefix + name, "nullable": True})
        for join in joins
        for name in join.columns
    )
