r"""The landing zone: the files that wait to be ingested. They are the listed files without a receipt, so a lost event loses no file.

Light: the landing-zone trigger of the orchestrator calls this every few seconds.

    >>> import pathlib
    >>> from perennial.data.landing import waiting_files
    >>> from perennial.store import open_store
    >>> folder = pathlib.Path("store/landing/rides")
    >>> folder.mkdir(parents=True)
    >>> _ = (folder / "monday.csv").write_text("ride,km\nr1,4.2\n")
    >>> ready, still_written = waiting_files(open_store("store"), "rides", settle_seconds=60)
    >>> [file.name for file in ready], [file.name for file in still_written]
    ([], ['monday.csv'])
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from perennial.specs import UNFINISHED
from perennial.store import Store, StoredObject

LARGE = 32 << 20  # bytes of a file that must have been still for twice as long as a small one


@dataclass(frozen=True)
class Landed:
    """One file in the landing zone, as it was listed."""

    key: str
    name: str  # below landing/<dataset>/, as text
    size: int  # bytes
    modified: float  # seconds since the epoch
    id: str  # names its receipt: the same name, size and identity are the same file

    def is_unchanged(self, now: StoredObject | None) -> bool:
        """Whether the object now under its key is still the one that was listed."""
        return now is not None and _id(self.name, now) == self.id


def folder(dataset: str) -> str:
    """Key of a dataset's landing zone."""
    return f"landing/{dataset}"


def receipt_key(dataset: str, file_id: str) -> str:
    """Key of the receipt of one landed file."""
    return f"receipts/{dataset}/{file_id}.json"


def listing(store: Store, dataset: str) -> list[Landed]:
    """Every file in the landing zone, in order of name, with or without a receipt.

    Hidden files and those whose name says that they are being written (`.part`, `.tmp` ...) are not there yet.
    """
    prefix = folder(dataset) + "/"
    landed = []
    for item in store.list(folder(dataset)):
        name = item.key.removeprefix(prefix)
        if any(part.startswith(".") for part in name.split("/")) or name.lower().endswith(UNFINISHED):
            continue
        # A file system may hold bytes that are no text; receipts, results and events must be.
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        landed.append(Landed(item.key, text, item.size, item.modified, _id(text, item)))
    return landed


def waiting_files(store: Store, dataset: str, settle_seconds: float, now: float | None = None) -> tuple[list[Landed], list[Landed]]:
    """Files without a receipt, in two groups: those that are ready, and those that may still be being written.

    In S3 an object appears whole. In a folder a file is ready once it has been still for as long as its size asks for, and no program
    has it open for writing, where the system tells.

    Args:
        store: where the landing zone is.
        dataset: name of the dataset.
        settle_seconds: a small file is ready once it was last written longer ago than this.
        now: seconds since the epoch; the clock's time if absent.
    """
    now = time.time() if now is None else now
    files = listing(store, dataset)
    if not files:
        return [], []
    done = {item.key for item in store.list(f"receipts/{dataset}")}
    waiting = [file for file in files if receipt_key(dataset, file.id) not in done]
    pauses = {file.key: settle_seconds if store.appears_whole else pause(file.size, settle_seconds) for file in waiting}
    still = {file.key for file in waiting if now - file.modified < pauses[file.key]}
    still |= store.being_written({file.key for file in waiting} - still)
    return [file for file in waiting if file.key not in still], [file for file in waiting if file.key in still]


def pause(size: int, settle_seconds: float) -> float:
    """Seconds for which a file of so many bytes must have been still: the larger it is, the longer its writer
    may have paused; 15 times as long at most."""
    return settle_seconds * min(1 + size / LARGE, 15)


def _id(name: str, item: StoredObject) -> str:
    return hashlib.sha256(f"{name}|{item.size}|{item.etag}".encode()).hexdigest()
