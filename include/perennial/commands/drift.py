"""`perennial drift A B`: whether two files or tables differ by more than chance, in which columns, and how far.

Each of the two is a file of any form that ingestion reads (CSV, JSON, Excel, Parquet ...) or a table of the store, `table:NAME` or
`table:NAME@VERSION`. Nothing else is needed: no dataset, no store, no server. How a text file is written, its separator, decimal mark
and dates, is found as for a sample and said; what one file leaves open the other may tell; a form of dates that both leave open is
given with --times.

    $ perennial drift january.parquet july.csv
    $ perennial drift january.csv july.csv --times %d/%m/%Y
    $ perennial drift table:flights@3 july.csv --time scheduled_departure --report july.html

Exit code 0: nothing drifted. 3: something did, as `diff` has one for files that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perennial import discovery
from perennial.commands._sample import read_sample
from perennial.data.readers.proposals import differences
from perennial.errors import EXIT_DONE, UnknownName
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import FileForm
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow

EXIT_DRIFT = 3
TABLE = "table:"


@dataclass(frozen=True)
class Given:
    """Rows that a person named."""

    rows: pyarrow.Table
    form: FileForm | None = None  # of a file of text
    said: tuple[str, ...] = ()  # how it was read, and what was left open


def run(
    settings: Settings, store: Store, first: str, second: str, time: str | None, columns: str | None, report: Path, times: str | None = None
) -> int:
    """Compare, print the findings and draw them into a file.

    Raises:
        UnknownName: there is no such file, table, version or column, it cannot be read, or has no rows.
    """
    from perennial.monitoring.report.comparison import comparison_page, text
    from perennial.monitoring.two_tables import compare_tables

    form = _form(times)
    given = read(store, first, form), read(store, second, form)
    if given[0].form and given[1].form and given[0].form != given[1].form:
        forms = given[0].form, given[1].form
        given = read(store, first, _told(*forms)), read(store, second, _told(*forms[::-1]))
    for line in (*given[0].said, *given[1].said):
        print(on_terminal(line))
    before, after = given[0].rows, given[1].rows
    chosen = [name.strip() for name in columns.split(",")] if columns else []
    for name in [*chosen, *([time] if time else [])]:
        for table, called in ((before, first), (after, second)):
            if name not in table.column_names:
                raise UnknownName(f"{called} has no column {name}; it has {', '.join(table.column_names)}.")
    try:
        comparison = compare_tables(before, after, time=time or _event_time((first, before), (second, after)), columns=chosen)
    except ValueError as error:
        raise UnknownName(f"{first} and {second}: {error}.") from None
    report.write_text(comparison_page(comparison, first, second), encoding="utf-8")
    print(on_terminal(f"{first}: {before.num_rows:,} rows. {second}: {after.num_rows:,} rows."))
    print(on_terminal(text(comparison)))
    print(f"The plots are in {report.absolute()}.")
    return EXIT_DRIFT if comparison.verdict.drifted else EXIT_DONE


def read(store: Store, given: str, form: FileForm | None = None) -> Given:
    """All rows of a file, or of a table's version. Raises UnknownName: there is none, it cannot be read, or has no rows.

    Args:
        store: has the tables.
        given: a path, or `table:NAME@VERSION`.
        form: what is known of how a file of text is written.
    """
    import pyarrow as pa
    import pyarrow.parquet

    if given.startswith(TABLE):
        return Given(_table(store, given))
    path = Path(given)
    if not path.is_file():
        raise UnknownName(f"There is no file {given}: give a file, or table:NAME@VERSION.")
    if path.suffix != ".parquet":
        sample = read_sample(path, declared=form, infinite=True)
        found = differences(sample.files, FileForm())
        said = [f"{given}: read so that {' and '.join(found)}."] if found else []
        said += [f"{given}: {note.replace('times= in files', '--times')}." for note in sample.notes]
        return Given(pa.Table.from_pandas(sample.rows, preserve_index=False), sample.files, tuple(said))
    try:
        rows = pyarrow.parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UnknownName(f"{given} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    if not rows.num_rows:
        raise UnknownName(f"{given} has no rows: give a file that has some.")
    return Given(rows)


def _form(times: str | None) -> FileForm | None:
    """What a person says of how files of text are written. Raises UnknownName: it is no form of times."""
    try:
        return FileForm(times=(times,)) if times else None
    except ValidationError as error:
        raise UnknownName(f"--times: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None


def _told(form: FileForm, other: FileForm) -> FileForm:
    """A file's form, with all that another file of the same columns tells beside it; how it lies in the file stays its own."""
    known: dict[str, Any] = {
        name: tuple(dict.fromkeys((*getattr(form, name), *getattr(other, name)))) for name in ("times", "nulls", "true", "false")
    }
    if (form.decimal, form.thousands) == (FileForm().decimal, FileForm().thousands):
        known |= {"decimal": other.decimal, "thousands": other.thousands}
    return form.model_copy(update=known)


def _table(store: Store, given: str) -> pyarrow.Table:
    from perennial.data.tables import Table

    name, _, number = given.removeprefix(TABLE).partition("@")
    newest = Table(store, name).version() if name in store.folders("tables") else None
    if newest is None:
        raise UnknownName(f"There is no table {name} in the store {store.root}: ingest a batch first, or name a file.")
    if number and not (number.isdecimal() and 1 <= int(number) <= newest):
        raise UnknownName(f"The table {name} has no version {number}: give one of 1 to {newest}, or none for the newest.")
    rows = Table(store, name).scan(version=int(number) if number else None)
    if not rows.num_rows:
        raise UnknownName(f"{given} has no rows yet: ingest a batch first.")
    return rows.select([column for column in rows.column_names if not column.startswith("_")])


def _event_time(*given: tuple[str, pyarrow.Table]) -> str:
    """The event time of the dataset whose table was named, if both have it; else none."""
    names = [name.removeprefix(TABLE).partition("@")[0] for name, _ in given if name.startswith(TABLE)]
    times = [spec.event_time for name in names if (spec := discovery.datasets().get(name))]
    return next((time for time in times if all(time in table.column_names for _, table in given)), "")
