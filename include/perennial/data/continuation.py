"""Landed files that grew after they were ingested: only their new rows are taken.

A program that writes with long pauses, or appends to one file all day, lands such files. They have the name of a batch and begin with
its bytes. If that batch ended within a row, the file is refused with a sentence, since that row in the table is wrong.

    >>> from perennial.store import open_store
    >>> columns = [{"name": "id", "type": "int"}, {"name": "at", "type": "timestamp"}]
    >>> orders = DatasetSpec(name="orders", title="Orders", owner="shop", key=["id"], event_time="at", columns=columns)
    >>> path, begin, more = Path("a.csv"), b"id,at\\n7,2024-01-01\\n", b"8,2024-01-02\\n"
    >>> size, table = path.write_bytes(begin), Table(open_store("store"), "orders")
    >>> version = table.append(read_batch(path, orders, "a.csv"), hashlib.sha256(begin).hexdigest())
    >>> whole = path.write_bytes(begin + more)
    >>> continuation(orders, table.batches()[0], size, path, "a.csv").rows["id"].to_pylist()
    [8]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from perennial.counted import counted
from perennial.data.landing import Landed
from perennial.data.readers import read_batch
from perennial.data.readers.packing import unrotated
from perennial.data.receipts import read_receipt
from perennial.data.tables import Batch, Table
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec
from perennial.store import Store

_PIECE = 1 << 20


@dataclass(frozen=True)
class Continuation:
    """A file that begins with a known batch: that batch, and the rows that come after it."""

    batch: Batch  # whose bytes the file begins with
    known: int  # rows of those bytes
    rows: pa.Table  # the rows after them


def begun_by(
    store: Store, spec: DatasetSpec, table: Table, file: Landed, path: Path, batches: Callable[[], list[Batch]]
) -> tuple[Batch, int] | None:
    """The longest batch of the same name with whose bytes a file begins, and the size of that batch in bytes; None if there is none.

    A log file that was put aside with a number, as `access.log.1`, has the name that it had.

    Batches that were removed from the table count too.

    Args:
        store: has the receipts.
        spec: the dataset.
        table: its table.
        file: as it was listed.
        path: its content.
        batches: gives the batches of the table; asked for where one may have that name.
    """
    name = unrotated(file.name)
    if not table.may_have_label(name if name.endswith(".log") else f"{name} (") and not any(
        True for _ in store.list(f"removals/{spec.name}")
    ):
        return None
    sizes: dict[str, tuple[Batch, int]] = {}
    for batch in batches():
        if unrotated(batch.name) == name and batch.digest not in sizes and (size := _size(store, spec, batch)) < path.stat().st_size:
            sizes[batch.digest] = (batch, size)
    for batch, size in sorted(sizes.values(), key=lambda batch_and_size: -batch_and_size[1]):
        if size and _sha256(path, size) == batch.digest:
            return batch, size
    return None


def continuation(spec: DatasetSpec, batch: Batch, size: int, path: Path, name: str) -> Continuation:
    """Read the rows of a file that come after those of a known batch.

    Args:
        spec: what it must hold.
        batch: whose bytes it begins with.
        size: so many bytes.
        path: its content.
        name: what it is called in sentences.

    Raises:
        BatchRefused: it cannot be read; the batch was taken out; or its last row was cut.
    """
    if batch.removed:
        raise BatchRefused(
            f"{name} begins with the {counted(batch.rows, 'row')} of the batch {batch.label}, which was taken out of the table "
            f"{spec.name} {batch.removal()}. Land a file without them."
        )
    whole = read_batch(path, spec, name)
    begin = path.with_name(f"begin-{path.name}")
    with begin.open("wb") as target:
        target.writelines(_pieces(path, size))
    known = read_batch(begin, spec, name)
    begin.unlink()
    if not whole.slice(0, known.num_rows).equals(known):
        raise BatchRefused(
            f"{name} was taken while it was being written: {counted(batch.rows, 'row')} of it {'is' if batch.rows == 1 else 'are'} in the "
            f"table {spec.name} since snapshot {batch.added.version}, the last of them cut at byte {size:,}. "
            f"Take them out (`perennial remove-batch {spec.name} {batch.digest[:12]} --reason ...`), "
            "then land the whole file from quarantine under another name."
        )
    return Continuation(batch, known.num_rows, whole.slice(known.num_rows))


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, piece by piece."""
    with path.open("rb") as file:
        while size and (piece := file.read(min(size, _PIECE))):
            yield piece
            size -= len(piece)


def _size(store: Store, spec: DatasetSpec, batch: Batch) -> int:
    """Bytes of a batch's landed file: from its commit, or from the receipt of an older one; 0 if neither tells."""
    if known := batch.added.metadata.get("perennial.size"):
        return int(known)
    file = batch.added.metadata.get("perennial.file")
    receipt = read_receipt(store, spec.name, file) if file else None
    return receipt.size if receipt else 0


def _sha256(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(path, size):
        digest.update(piece)
    return digest.hexdigest()
