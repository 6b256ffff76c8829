"""Where a dataset's batches come from, beside the files that land: databases and what else the stage `collect` reads."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from perennial.specs.base import CronLine, Spec

# A password in an address: before its server, or among its parameters. Compiled where an address is checked: no parse of a DAG file waits.
_LEAK = (
    r"(?i)//[^/@\s]*:[^/@]+@|[?&;][^=&;]*(password|passwd|pwd|secret|api_?key|access_?key|access_token|auth_token)[^=&;]*=[^&;]"
    r"|[?&;](token|sig)=[^&;]"
)
_SQL_LEAK = r"[^:/]+://[^:/]*:[^@]*@"  # as SQLAlchemy finds it, which takes a slash for a part of a password


def without_secret(address: str, *further: str) -> str:
    """An address as it is given. Raises ValueError where it holds a password: specs lie in a repository that many read."""
    if any(re.search(pattern, address) for pattern in (_LEAK, *further)):
        raise ValueError("the address holds a password, and specs lie in a repository: name a connection instead (connection=...)")
    return address


class SourceSpec(Spec):
    """What all sources have: a connection that says how to get in, when to look, and how large the files become that land."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)  # at a DAG's parse only if it has one

    connection: str = Field(
        default="",
        description="Name of the connection that has server, user and password: Airflow's, or by hand one of the file that the setting "
        "PERENNIAL_CONNECTIONS names. Passwords never stand in a spec.",
    )
    every: CronLine | None = Field(
        default=None, description="When to look for new rows, a cron line in UTC, such as `*/10 * * * *`. If unset, when a person asks."
    )
    file_rows: int = Field(
        default=200_000, ge=1, description="Most rows of one file that lands. What is more comes in further files, each taken by itself."
    )

    @property
    def kind(self) -> str:
        """One word for its kind, which its reader is called by: `sql`, `http` ..."""
        return type(self).__name__.removesuffix("Source").lower()

    @property
    def place(self) -> str:
        """What is read and where, without secrets. A source with another place is another source, which is read from its beginning."""
        raise NotImplementedError

    @property
    def days_of_answers(self) -> float | None:
        """Days that answers are kept as they came; None for ever."""
        return None


class SqlSource(SourceSpec):
    """A table or view of a database that SQLAlchemy reaches, read by a column that grows, or whole."""

    url: str = Field(
        default="",
        description="SQLAlchemy address of a database that asks for no password, such as `sqlite:////data/shop.db`; else `connection`.",
    )
    table: str = Field(description="Table or view; its columns have the names of the dataset's columns, or those of `files.fields`.")
    namespace: str = Field(default="", description="Schema of the database in which the table is; the user's own if empty.")
    cursor: str = Field(
        default="",
        description="Column that grows with every new or changed row: a number, a time or a text. Rows are read from the largest value "
        "that was read on. If empty, the table is read whole each time, and lands if a row was added or changed.",
    )
    since: str = Field(default="", description="Value of the cursor from which the first look reads; from the beginning if empty.")
    lag: float = Field(
        default=0,
        ge=0,
        description="How far before the largest value that was read the next look begins again: seconds where the cursor is a time, else a "
        "number. For rows that are committed later than others with larger values. What was read and has not changed lands only once.",
    )
    range_start: Literal["closed", "open"] = Field(
        default="closed",
        description="`closed`: the next look reads rows of the largest value that was read again, for more may have come with that value; "
        "what was read lands only once. `open`: it reads larger ones alone, which asks for a cursor without equal values.",
    )
    range_end: Literal["closed", "open"] = Field(
        default="closed",
        description="`open`: rows of the largest value of all stay until there is a larger one, since more may come with that value.",
    )
    null_cursors: Literal["leave_out", "refuse"] = Field(
        default="leave_out",
        description="Rows without a value in the cursor can never be told as new: they are counted and left out, or the look is refused.",
    )

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        return without_secret(url, _SQL_LEAK)

    @model_validator(mode="after")
    def _fits(self) -> SqlSource:
        if bool(self.url) == bool(self.connection):
            raise ValueError("say where the database is: either url or connection")
        if not self.cursor and (self.lag or self.since or self.range_start == "open" or self.range_end == "open"):
            raise ValueError("lag, since, range_start and range_end are about a cursor: name the column that grows, or leave them out")
        if self.lag and self.range_start == "open":
            raise ValueError('a lag reads rows again, and range_start="open" never does: leave one of them out')
        return self

    @property
    def place(self) -> str:
        """Database, table and cursor."""
        table = f"{self.namespace}.{self.table}" if self.namespace else self.table
        return f"{self.connection or self.url}: {table} by {self.cursor or 'all rows'}"


class FilesSource(SourceSpec):
    """Files of somebody else's folder or bucket, which are taken as they are and left where they lie."""

    url: str = Field(
        description="Folder of the files: `s3://bucket/prefix`, `gs://…`, `abfs://container/…`, `hdfs://…`, `file:///…` or what fsspec "
        "knows besides, such as `sftp://…`. With `days` it may have codes of strftime."
    )
    pattern: str = Field(
        default="**",
        description="Which files below it: `*` is any name, `?` any letter, `[0-9]` one of these, `[!0-9]` none of these, `**` any folders "
        "too, such as `2026/**/*.csv.gz`.",
    )
    days: int | None = Field(
        default=None,
        ge=1,
        description="The codes of strftime in `url`, such as `%Y/%m/%d`, are filled in with today (UTC) and so many days before it, and no "
        "other folders are listed. For a bucket whose listing is long.",
    )
    settle_seconds: float = Field(
        default=10,
        ge=1,
        description="A file is taken once it was last written longer ago than this: its writer may not be done, or may write again.",
    )
    overwritten: Literal["take", "leave"] = Field(
        default="take",
        description="A file that is written again under its name is taken again, and the dataset's rules for known keys decide on its "
        "rows; or it is left with a word.",
    )

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        if "://" not in url:
            raise ValueError(f"{url!r} is no address: write file:///data/in, s3://bucket/prefix or the like")
        return without_secret(url)

    @model_validator(mode="after")
    def _days_have_codes(self) -> FilesSource:
        if (self.days is not None) != ("%" in self.url):
            raise ValueError("days and codes of strftime in the url, such as %Y/%m/%d, belong together: give both or neither")
        return self

    @property
    def place(self) -> str:
        """Folder and pattern."""
        return f"{self.url.rstrip('/')}/{self.pattern}"


class DeltaSource(SourceSpec):
    """A table of Delta Lake that somebody else writes: its rows, then what each of its commits adds and changes."""

    url: str = Field(description="Folder of the table: a path, `s3://…`, `gs://…` or `abfs://…`.")

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        return without_secret(url)

    @property
    def place(self) -> str:
        """The table."""
        return self.url


class IcebergSource(SourceSpec):
    """A table of Iceberg that somebody else writes: its rows, then what is appended."""

    table: str = Field(description="Name in its catalog, such as `sales.orders`.")
    catalog: str = Field(
        default="",
        description="Address of a catalog that asks for no password, such as `http://catalog:8181` or `sqlite:////data/catalog.db`; else "
        "the connection has the settings of pyiceberg in its `extra`.",
    )

    @field_validator("catalog")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        return without_secret(url)

    @model_validator(mode="after")
    def _has_a_catalog(self) -> IcebergSource:
        if bool(self.catalog) == bool(self.connection):
            raise ValueError("say where the catalog is: either catalog or connection")
        return self

    @property
    def place(self) -> str:
        """Catalog and table."""
        return f"{self.connection or self.catalog}: {self.table}"


class FunctionSource(SourceSpec):
    """What the function `collect` of the dataset's file reads, for systems that have a client library and no kind of their own."""

    reads: str = Field(description="What it reads, in a few words without secrets, such as `shop.orders`. Other words are another source.")

    @property
    def place(self) -> str:
        """What its spec says it reads, and by which connection."""
        return f"{self.connection}: {self.reads}" if self.connection else self.reads
