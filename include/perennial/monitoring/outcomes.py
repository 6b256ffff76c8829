"""Outcomes (what really happened): imported whenever they arrive, and joined to predictions by id.

Every outcome ever sent stays in the table. Where a prediction has several, the last one by its own time counts. An outcome
whose prediction is unknown waits in the table until the prediction comes.

    >>> import datetime, pyarrow as pa
    >>> now = datetime.datetime.now(datetime.timezone.utc)
    >>> predictions = pa.table({"prediction_id": ["my-id-0", "my-id-1"], "served_at": [now, now]})
    >>> outcomes = outcome_rows([{"prediction_id": "my-id-0", "outcome": 1.0, "time": now}], source="example")
    >>> joined, counts = join(predictions, outcomes)
    >>> dict(zip(*(joined[name].to_pylist() for name in ("prediction_id", "outcome")))) == {"my-id-0": 1.0, "my-id-1": None}
    True
    >>> counts.predictions, counts.labelled
    (2, 1)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perennial.answer_names import outcome_names
from perennial.classes import named_by_numbers, outcome_number
from perennial.monitoring.log_lines import Damage, LineField, Piece, read_lines
from perennial.monitoring.prediction_table import TIME, Collected, Table, collect
from perennial.specs import ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

COLUMNS = ["prediction_id", "outcome", "time", "source", "line"]
READ_ROWS = 32_768  # at a time, of a table that may be of any size


def collect_outcomes(store: Store, model: ModelSpec, table: Table) -> Collected:
    """Take the outcomes that servers logged into the model's table.

    Columns: prediction_id, outcome (class number, or the value of a regression), time (UTC), source, line.
    """

    fields = [
        LineField("prediction_id", "/id", ("VARCHAR",), lambda text, _: f"nullif({text}, '')", "no text", required=True),
        LineField(
            "outcome",
            "/outcome",
            ("VARCHAR", "BIGINT", "UBIGINT", "DOUBLE", "BOOLEAN"),
            lambda text, kind: _number(model, text, kind),
            "no outcome of this model",
            required=True,
        ),
        LineField("time", "/time", *TIME, required=True),
    ]

    def read(pieces: Iterable[Piece]) -> tuple[pa.Table, list[Damage]]:
        import pyarrow as pa

        rows, damaged = read_lines(pieces, fields)
        return rows.append_column("source", pa.array(["log"] * rows.num_rows, pa.string())).select(COLUMNS), damaged

    return collect(store, f"outcomes/{model.name}", table, read)


def _number(model: ModelSpec, text: str, kind: str) -> str:
    """SQL that turns the text of an outcome into its number, or null.

    A number with a point is what a server logs, the place of a class. Anything else was written by somebody and has the meaning that
    `perennial.classes` gives it.
    """
    value = f"try_cast({text} as double)"
    classes = outcome_names(model.task, model.classes)
    if not classes:
        return f"case when isfinite({value}) then {value} end"
    names = " ".join(f"when {text} = '{name.replace(chr(39), chr(39) * 2)}' then {i}" for i, name in enumerate(classes))
    spelled = {word: outcome_number(word, classes) for word in ("true", "false")}
    yes_no = "".join(f" when lower({text}) = '{word}' then {place:g}" for word, place in spelled.items() if place is not None)
    place = f"when {value} in ({', '.join(map(str, range(len(classes))))}) then {value}"
    written = "" if named_by_numbers(classes) else place
    return f"(case when {kind} = 'DOUBLE' then case {place} end {names}{yes_no} {written} end)::double"


def outcome_rows(rows: Sequence[Mapping[str, Any]], source: str) -> pa.Table:
    """Rows for the table of outcomes: each has prediction_id, outcome (a number) and time (aware)."""
    import pyarrow as pa

    schema = pa.schema(
        [
            ("prediction_id", pa.string()),
            ("outcome", pa.float64()),
            ("time", pa.timestamp("us", "UTC")),
            ("source", pa.string()),
            ("line", pa.int64()),
        ]
    )
    return pa.Table.from_pylist([{**row, "source": source, "line": i} for i, row in enumerate(rows, start=1)], schema=schema)


@dataclass(frozen=True)
class Counts:
    """Counts of a join of predictions with outcomes."""

    predictions: int = 0
    labelled: int = 0
    repeated: int = 0  # outcomes beyond the first of the same prediction that say the same
    contradicted: int = 0  # outcomes that were overruled by a later, different one
    predicted_twice: int = 0  # prediction rows whose id was used again later


def outcomes_of(predictions: Sequence[pa.Table], outcomes: Dataset) -> pa.Table:
    """The outcomes of some predictions, however late they came. All others are read past and not held in memory.

    Args:
        predictions: have `prediction_id`.
        outcomes: the outcome table, of any size.
    """
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set disabled_optimizers = 'build_side_probe_side'")  # the table of unknown size streams past the known ids
    connection.register("p", pa.concat_tables([rows.select(["prediction_id"]) for rows in predictions]))
    connection.register("o", _read(outcomes, COLUMNS))
    outcomes_of_these: pa.Table = connection.sql(
        "select prediction_id, outcome, time, source, line from o semi join p using (prediction_id)"
    ).to_arrow_table()
    return outcomes_of_these


def _read(table: Dataset, columns: list[str]) -> pa.RecordBatchReader:
    """Read a table once, from front to back; Arrow would read several files ahead."""
    return table.scanner(columns=columns, batch_size=READ_ROWS, batch_readahead=1, fragment_readahead=1).to_reader()


def join(predictions: pa.Table, outcomes: pa.Table) -> tuple[pa.Table, Counts]:
    """Give every prediction its outcome.

    Args:
        predictions: rows of the prediction table; of rows with one id the last one served counts.
        outcomes: rows of the outcome table, of any window; `outcomes_of` these predictions are enough.

    Returns:
        The predictions, in no particular order, with a column `outcome` (null while it is unknown), and the counts.
    """
    import duckdb

    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.register("p", predictions)
    connection.register("o", outcomes)
    connection.execute(
        "create temp table last as select prediction_id, min(outcome) outcome, count(*) n, min(outcome) <> max(outcome) mixed, "
        "0::bigint against from o group by 1"
    )
    # Only where outcomes contradict one another does their order matter: sorting all of them would cost several times the rest.
    connection.execute(
        "update last set outcome = settled.outcome, against = settled.against from ("
        "select prediction_id, final.outcome, count(*) filter (o.outcome <> final.outcome) against from o join ("
        "select prediction_id, arg_max(outcome, (time, source, line)) outcome from o "
        "semi join (select prediction_id from last where mixed) using (prediction_id) group by 1"
        ") final using (prediction_id) group by 1, 2) settled where settled.prediction_id = last.prediction_id"
    )
    again = "qualify row_number() over (partition by prediction_id order by served_at desc) = 1"
    unique = connection.execute("select count(*) = count(distinct prediction_id) from p").fetchone() == (True,)
    connection.execute(f"create temp view once as select * from p {'' if unique else again}")  # noqa: S608
    joined: pa.Table = connection.sql("select once.*, last.outcome from once left join last using (prediction_id)").to_arrow_table()
    counted = connection.execute(
        "select count(*), count(last.n), coalesce(sum(last.n - 1 - last.against), 0)::bigint, coalesce(sum(last.against), 0)::bigint "
        "from once left join last using (prediction_id)"
    ).fetchone()
    assert counted is not None
    rows, labelled, repeated, contradicted = counted
    return joined, Counts(rows, labelled, repeated, contradicted, predictions.num_rows - rows)


@dataclass(frozen=True)
class NewCounts:
    """Counts of new outcomes compared with known ones, by row."""

    first: int  # of predictions that had none
    repeated: int  # that say what is known
    other: int  # that say otherwise
    unknown: int  # whose prediction has not come; counted besides the others


def count_new(given: pa.Table, known: pa.Table, predictions: pa.Table) -> NewCounts:
    """Count before appending: `given` and `known` have prediction_id and outcome, `predictions` has prediction_id."""
    import duckdb

    connection = duckdb.connect()
    for name, table in (("given", given), ("known", known), ("predictions", predictions)):
        connection.register(name, table.select(["prediction_id", *(["outcome"] if name != "predictions" else [])]))
    counted = connection.execute(
        "select count(*) filter (not seen), count(*) filter (seen and same), count(*) filter (seen and not same), "
        "count(*) filter (not predicted) from ("
        "select prediction_id in (select prediction_id from known) seen, "
        "(prediction_id, outcome) in (select (prediction_id, outcome) from known) same, "
        "prediction_id in (select prediction_id from predictions) predicted from given)"
    ).fetchone()
    assert counted is not None
    return NewCounts(*counted)
