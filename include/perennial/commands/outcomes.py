"""`perennial outcomes`: import a file of outcomes. Every row is checked; the file is imported whole or not at all, and only once.

$ perennial outcomes flight_delays outcomes.csv
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import discovery
from perennial.counted import counted
from perennial.errors import BatchRefused
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.monitoring.outcomes import NewCounts

WANTED, ALLOWED = {"prediction_id", "outcome"}, {"prediction_id", "outcome", "time"}
SHOWN = 3  # bad rows that are named

Row = Mapping[str, Any]


def run(settings: Settings, store: Store, model: str, file: Path) -> int:
    """Append a file's outcomes to the model's table and print what came in.

    Columns: prediction_id, outcome (a class, as `perennial.classes` reads it, or the value of a regression) and, if known, time (ISO
    8601; UTC where no zone is given). Without a time an outcome counts from now.

    Raises:
        BatchRefused: the file cannot be read, or a row is wrong; nothing is taken in.
    """
    spec = discovery.model(model)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BatchRefused(f"{file} cannot be read ({error.strerror}): give the path of a CSV, JSON lines or Parquet file.") from None
    rows = check(_read(file.name, content), spec, file.name)

    from perennial.data.tables import Table
    from perennial.monitoring.outcomes import count_new, outcome_rows
    from perennial.served_tables import outcomes_name, predictions_name

    table, predictions = Table(store, outcomes_name(model)), Table(store, predictions_name(model))
    digest = hashlib.sha256(content).hexdigest()
    if table.has_batch(digest):
        print(f"{file.name} was taken in before: nothing changed.")
        return 0
    given = outcome_rows(rows, file.name)
    known = table.scan(["prediction_id", "outcome"]) if table.version() is not None else outcome_rows([], "")
    ids = predictions.scan(["prediction_id"]) if predictions.version() is not None else outcome_rows([], "")
    counts = count_new(given, known, ids)
    table.append(given, digest)
    print(_sentence(model, file.name, len(rows), counts))
    return 0


def _sentence(model: str, name: str, rows: int, counts: NewCounts) -> str:
    """What a file of outcomes brought, in words; what it has none of is left out."""
    parts = [
        f"{counts.first:,} new" if counts.first else "",
        f"{counts.repeated:,} known already" if counts.repeated else "",
        f"{counts.other:,} unlike what was known (the one with the later time counts)" if counts.other else "",
    ]
    waiting = ""
    if counts.unknown:
        waiting = (
            f" {counted(counts.unknown, 'outcome waits', 'outcomes wait')} for a prediction with the same id. Predictions are collected "
            f"from the servers' log by the next monitoring (perennial monitor --model {model}), which then joins the two; an id that "
            f"nobody predicted stays without one, so look at the ids of {name} if some still wait after it."
        )
    matched = f" {counted(rows - counts.unknown, 'outcome matches', 'outcomes match')} a collected prediction."
    return f"{counted(rows, 'outcome')} of {model} taken in: {', '.join(filter(None, parts))}.{matched}{waiting}"


def _read(name: str, content: bytes) -> Iterable[tuple[str, Row]]:
    """Rows with what a person calls them."""
    plain = name.removesuffix(".gz")
    try:
        if plain != name:
            content = gzip.decompress(content)
        if plain.endswith(".csv"):
            return _lines(name, _csv(name, content))
        if plain.endswith((".jsonl", ".ndjson")):
            return _lines(name, _json(name, content))
        if plain.endswith(".parquet"):
            import pyarrow.parquet as pq

            return _lines(name, [(f"row {i}", row) for i, row in enumerate(pq.read_table(io.BytesIO(content)).to_pylist(), start=1)])
    except UnicodeDecodeError as error:
        raise BatchRefused(f"{name} is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
    except (OSError, EOFError, ValueError, NotImplementedError, csv.Error, zlib.error) as error:
        raise BatchRefused(f"{name} cannot be read: {str(error).splitlines()[0].rstrip('.')}. Write it again.") from None
    raise BatchRefused(f"{name} is none of .csv, .jsonl, .parquet (.csv and .jsonl also .gz): rename or convert it.")


def _csv(name: str, content: bytes) -> list[tuple[str, Row]]:
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    numbered_rows: list[tuple[str, Row]] = []
    for row in reader:
        if None in row or None in row.values():
            raise BatchRefused(
                f"{name}, line {reader.line_num}: it has not as many fields as the header. Correct it; nothing was taken in."
            )
        numbered_rows.append((f"line {reader.line_num}", row))
    return numbered_rows


def _json(name: str, content: bytes) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(content.decode().split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BatchRefused(f"{name}, line {number}: it is no JSON object. Correct it; nothing was taken in.")
        yield f"line {number}", row


def _lines(name: str, rows: Iterable[tuple[str, Row]]) -> list[tuple[str, Row]]:
    numbered_rows = list(rows)
    if not numbered_rows:
        raise BatchRefused(f"{name} has no rows: nothing to take in.")
    for where, row in numbered_rows:
        missing, strange = sorted(WANTED - set(row)), sorted(set(row) - ALLOWED)
        if missing or strange:
            what = f"lacks {' and '.join(missing)}" if missing else f"has the unknown column {strange[0]!r}"
            raise BatchRefused(
                f"{name}, {where}: it {what}. The columns are prediction_id, outcome and, if known, time; nothing was taken in."
            )
    return numbered_rows


def check(rows: Iterable[tuple[str, Row]], model: ModelSpec, name: str) -> list[dict[str, Any]]:
    """The rows as the table has them. Raises BatchRefused with a sentence that names the wrong ones."""
    from perennial.answer_names import outcome_names
    from perennial.classes import expected, outcome_number

    classes = outcome_names(model.task, model.classes)
    now = datetime.now(timezone.utc)
    good: list[dict[str, Any]] = []
    bad: list[str] = []
    for where, row in rows:
        identity, outcome, time = row["prediction_id"], outcome_number(row["outcome"], classes), _time(row.get("time"), now)
        if not isinstance(identity, str) or not identity.strip():
            bad.append(f"{where} has no prediction_id")
        elif outcome is None:
            bad.append(f"{where}: outcome {row['outcome']!r} is not {expected(classes)}")
        elif time is None:
            bad.append(f"{where}: time {row['time']!r} is not like 2013-02-01T06:00")
        else:
            good.append({"prediction_id": identity.strip(), "outcome": outcome, "time": time})
    if bad:
        more = f" and {len(bad) - SHOWN} more rows" if len(bad) > SHOWN else ""
        raise BatchRefused(
            f"{name} is refused: {'; '.join(bad[:SHOWN])}{more}. Correct {'it' if len(bad) == 1 else 'them'}; nothing was taken in."
        )
    return good


def _time(value: object, now: datetime) -> datetime | None:
    if value is None or value == "":
        return now
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
