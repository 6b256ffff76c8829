"""Receipts: one record for each landed file, taken or refused. They are the landing zone's watermark (`landing.waiting_files`).

What becomes of a landed file:

| what landed | outcome | rows |
| --- | --- | --- |
| a good batch | `appended` to the table in one commit; the file stays where it landed | all kept |
| content that is already in the table, under whatever name | `duplicate`: nothing is appended | none kept twice |
| empty file, or a header without rows | `refused` | 0 |
| truncated or damaged Parquet, gzip, zip or tar | `refused`, said how it is damaged | unknown |
| another encoding than the spec's | `refused`, with line and byte | unknown |
| missing or unexpected columns | `refused`, the columns are named; unexpected ones are left out or kept where the spec says so | unknown |
| an event time on 9999-12-31, the last day of the calendar | `refused`, says how many rows | all refused |
| values of the wrong type | `refused`, columns and first rows are named, and how many more there are | unknown |
| a pair of quotes that makes one field of several rows | `refused`, with the lines | unknown |
| another form than the spec's (`files`) | `refused`, with the line to write into the spec | unknown |
| larger than the dataset's limit, as it is or unpacked | `refused` without being read further; the sentence says to split it | unknown |
| an extension that no reader knows | `refused`, the known ones are named | unknown |
| rows that the dataset's `clean` leaves out | the others are `appended`; each rule is named with its count | kept + left out by rule |
| a `clean` that breaks, loses rows, changes a type or leaves nothing | `refused`, says what it did | all refused |
| rows that the suite forbids (`critical`) | `refused`, with the expectations and a report | all refused |
| a key that is already in the table (`rows="final"`) | `refused`, says which batch has it | all refused |
| the same with `rows="corrected"` | `appended`; `duplicate` if no row changes the table | each its own: `counts` |
| a key twice in the file, with the same values | one of the rows counts | the others `repeated` |
| the same with different values | the newest by `newest_by` counts; without it `refused` | the others `older`; all refused |
| content that a person took out (`perennial remove-batch`) | `refused`, says who, when and why; taken after `--again` | all refused |
| rows that are in, and are taken out later | the receipt says `removed`: by whom and why | none kept |
| a file that begins as one of its name in the table does | `appended`: the rows after that; `duplicate` if there are none | the new ones |
| the same, where a row was cut when the first part was taken | `refused`, says what to take out and land again | all refused |
| still being written (recently changed, open for writing, `.part`, `.tmp`, hidden) | waits; no receipt | |

Refused files move to `quarantine/<dataset>/<digest>/` with `reasons.json`. A batch is taken whole, or row by row where the dataset's spec
says so, or refused whole. Rows that were refused one by one lie there too, in a Parquet file of their own. In a receipt the counts of what
became of the rows add up to the rows of the file (`row_counts.py`).

Whoever writes, replaces or deletes a receipt owes a note of it first (`receipt_notes.py`), by which the newest are found without reading
all of them.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from perennial.data import receipt_notes
from perennial.data.landing import receipt_key, withdrawn_key
from perennial.data.row_counts import RowCounts
from perennial.errors import StoredDataDamaged
from perennial.store import Store


class Receipt(BaseModel):
    """The record of one landed file: taken or refused, and why."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Identity of the landed file.")
    name: str = Field(description="Name of the landed file.")
    size: int = Field(description="Size, bytes.")
    digest: str = Field(default="", description="SHA-256 of the content; empty if it was too large to be read.")
    outcome: Literal["appended", "duplicate", "refused", "removed"] = Field(description="What became of it.")
    rows: int | None = Field(default=None, description="Rows of the file; none if it could not be read.")
    counts: RowCounts | None = Field(default=None, description="What became of the rows; none if they could not be read.")
    left_out: dict[str, int] = Field(
        default_factory=dict, description="Rows of the file that the dataset's `clean` left out, by the name of its rule."
    )
    version: int | None = Field(default=None, description="Table version with its rows; if they were removed, the first one without.")
    since: int | None = Field(default=None, description="First table version with its rows; none if they are in none, or it is not known.")
    oldest: datetime | None = Field(default=None, description="Oldest event time of its rows, as the table keeps it; none if not known.")
    newest: datetime | None = Field(default=None, description="Newest event time of its rows.")
    late: int | None = Field(
        default=None, description="Its rows of days before the newest day that the table had when it came; none if not known."
    )
    sentence: str = Field(description="What became of it, for a person.")
    report: str = Field(default="", description="Store key of the validation report.")
    quarantine: str = Field(default="", description="Folder in the store to which a refused file, or refused rows, went.")
    run: str = Field(default="", description="Run of the orchestrator that wrote it.")
    time: datetime = Field(default_factory=lambda: datetime.now(timezone.utc), description="When.")

    @model_validator(mode="after")
    def _adds_up(self) -> Receipt:
        if self.counts is not None and self.counts.total != self.rows:
            raise ValueError(f"{self.rows} rows, and {self.counts.total} of them came to an outcome: {self.counts.sentence()}")
        return self


def write_receipt(store: Store, dataset: str, receipt: Receipt) -> bool:
    """Write a receipt once; False if the file has one already (another process was faster, or this one ran before)."""
    receipt_notes.owe(store, dataset, receipt.id, receipt.time)
    return store.put_if_absent(receipt_key(dataset, receipt.id), receipt.model_dump_json(indent=1).encode())


def correct_receipt(store: Store, dataset: str, receipt: Receipt) -> None:
    """Replace the receipt of a file whose rows were removed from the table."""
    receipt_notes.owe(store, dataset, receipt.id, receipt.time)
    store.write(receipt_key(dataset, receipt.id), receipt.model_dump_json(indent=1).encode())


def withdraw_receipt(store: Store, dataset: str, receipt: Receipt) -> None:
    """Delete a file's receipt, so that the file waits again if it is still in the landing zone."""
    receipt_notes.owe(store, dataset, receipt.id, receipt.time)
    store.delete(receipt_key(dataset, receipt.id))
    store.write(withdrawn_key(dataset), receipt.id.encode())


def read_receipt(store: Store, dataset: str, file_id: str) -> Receipt | None:
    """Read the receipt of one landed file; None if it has none.

    Raises:
        StoredDataDamaged: what is stored is no receipt.
    """
    key = receipt_key(dataset, file_id)
    try:
        return Receipt.model_validate_json(store.read(key))
    except KeyError:
        return None
    except ValidationError as error:
        raise StoredDataDamaged(
            f"The receipt {key} cannot be read ({error.error_count()} faults): restore it, or delete it to have its file taken again."
        ) from None


def receipts(store: Store, dataset: str) -> list[Receipt]:
    """Every receipt of a dataset, oldest first."""
    receipts_read = [
        read_receipt(store, dataset, item.key.rsplit("/", 1)[1].removesuffix(".json")) for item in store.list(f"receipts/{dataset}")
    ]
    return sorted((r for r in receipts_read if r is not None), key=lambda r: r.time)
