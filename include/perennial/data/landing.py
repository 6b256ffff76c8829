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
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from perennial.specs import UNFINISHED
from perennial.store import Changes, Store, StoredObject

ANEW_SECONDS = 3600.0  # after which a watch looks at everything again
ASK_SECONDS = 10.0  # between two questions of a watch whether a receipt was withdrawn
AGAIN, AGAIN_IN_S3 = 200, 10  # waiting files that a look looks at again; in S3 each takes two requests
ONE_BY_ONE = 20  # files whose receipts are asked for one by one: of more the receipts are listed
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


def withdrawn_key(dataset: str) -> str:
    """Key of the mark that changes whenever the receipt of a file is taken back, so that the file waits again."""
    return f"views/landing/{dataset}/withdrawn"


def listing(store: Store, dataset: str) -> list[Landed]:
    """Every file in the landing zone, in order of name, with or without a receipt.

    Hidden files and those whose name says that they are being written (`.part`, `.tmp` ...) are not there yet.
    """
    return list(_landed(dataset, store.list(folder(dataset))))


def landed_as(store: Store, dataset: str, name: str) -> Landed | None:
    """The file of a name in the landing zone; None if there is none."""
    if "\\" in name:  # it may stand for bytes that are no text
        return next((file for file in listing(store, dataset) if file.name == name), None)
    found = store.stat(f"{folder(dataset)}/{name}")
    return next(iter(_landed(dataset, [found])), None) if found else None


def waiting_files(store: Store, dataset: str, settle_seconds: float, now: float | None = None) -> tuple[list[Landed], list[Landed]]:
    """Files without a receipt, in two groups: those that are ready, and those that may still be being written.

    In S3 an object appears whole. In a folder a file is ready once it has been still for as long as its size asks for, and no program
    has it open for writing, where the system tells.

    It reads the whole listing: who looks again and again has a `Watch`.

    Args:
        store: where the landing zone is.
        dataset: name of the dataset.
        settle_seconds: a small file is ready once it was last written longer ago than this.
        now: seconds since the epoch; the clock's time if absent.
    """
    return _ready_or_not(store, _without_receipt(store, dataset, listing(store, dataset)), settle_seconds, now)


class Watch:
    """Finds what waits for a dataset look by look, at a cost that does not grow with the files that were ever taken.

    It asks the store for what is new or changed, and for the receipts of those files alone. A file that was taken waits again when its
    receipt is withdrawn; so everything is looked at anew then, and once an hour, whatever was remembered.

    Args:
        dataset: name of the dataset.
        clock: tells seconds.
    """

    def __init__(self, dataset: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._dataset, self._clock = dataset, clock
        self._changes: Changes | None = None  # None before the first look and after an error: then everything is looked at
        self._waiting: dict[str, Landed] = {}  # by key
        self._begun = self._asked = 0.0  # when everything was looked at, and when it was asked whether a receipt was withdrawn
        self._withdrawn = ""  # the mark's state

    def look(
        self, store: Store, settle_seconds: float, now: float | None = None, *, sure: bool = False
    ) -> tuple[list[Landed], list[Landed]]:
        """The files that wait, as `waiting_files` gives them.

        Args:
            store: where the landing zone is, the same at each look.
            settle_seconds: a small file is ready once it was last written longer ago than this.
            now: seconds since the epoch; the clock's time if absent.
            sure: whether each file that was found before is looked at again. Else some are, by turns: one of many that was dealt with
                since may be told once more.
        """
        changes, self._changes = self._changes, None
        begins = changes is None or self._clock() - self._begun >= ANEW_SECONDS
        if begins or self._clock() - self._asked >= ASK_SECONDS:
            mark = store.stat(withdrawn_key(self._dataset))
            self._asked, before, self._withdrawn = self._clock(), self._withdrawn, mark.etag if mark else ""
            begins |= before != self._withdrawn
        if changes is None or begins:
            self._begun, changes = self._clock(), store.changes(folder(self._dataset))
            self._waiting = {}
        known = list(self._waiting)
        self._add(store, _landed(self._dataset, changes.look()))  # one that changed takes the place of what it was
        self._look_again(store, known if sure else known[: AGAIN_IN_S3 if store.appears_whole else AGAIN])
        self._changes = changes
        return _ready_or_not(store, [self._waiting[key] for key in sorted(self._waiting)], settle_seconds, now)

    def _add(self, store: Store, landed: Iterable[Landed]) -> None:
        """Let those of some files wait that have no receipt."""
        files = iter(landed)
        first = list(itertools.islice(files, ONE_BY_ONE + 1))
        if len(first) > ONE_BY_ONE:  # not all of them are held at a time: only those that have no receipt yet
            done = set(store.keys(f"receipts/{self._dataset}"))
            first = [file for file in itertools.chain(first, files) if receipt_key(self._dataset, file.id) not in done]
        self._waiting |= {file.key: file for file in _without_receipt(store, self._dataset, first)}

    def _look_again(self, store: Store, keys: Iterable[str]) -> None:
        """Look at files that waited: one may have grown, be gone, or have a receipt. Those that still wait come last the next time."""
        files: list[Landed] = []
        for key in keys:
            if (file := self._waiting.pop(key, None)) and (found := store.stat(key)):
                files += [file] if file.is_unchanged(found) else _landed(self._dataset, [found])
        self._add(store, files)


def _landed(dataset: str, objects: Iterable[StoredObject]) -> Iterator[Landed]:
    """The files among objects of the landing zone that are neither hidden nor being written by their name."""
    prefix = folder(dataset) + "/"
    for item in objects:
        name = item.key.removeprefix(prefix)
        if name.startswith(".") or "/." in name or name.lower().endswith(UNFINISHED):
            continue
        # A file system may hold bytes that are no text; receipts, results and events must be.
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield Landed(item.key, text, item.size, item.modified, _id(text, item))


def _without_receipt(store: Store, dataset: str, files: Sequence[Landed]) -> list[Landed]:
    if len(files) <= ONE_BY_ONE:
        return [file for file in files if not store.exists(receipt_key(dataset, file.id))]
    done = set(store.keys(f"receipts/{dataset}"))
    return [file for file in files if receipt_key(dataset, file.id) not in done]


def _ready_or_not(store: Store, waiting: Sequence[Landed], settle_seconds: float, now: float | None) -> tuple[list[Landed], list[Landed]]:
    now = time.time() if now is None else now
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
