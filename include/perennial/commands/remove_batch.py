"""`perennial remove-batch`: remove a batch from a dataset's table, by a new snapshot without its rows; its records say so.

Rows that came again in later files stay, as rows of those. The commit is what counts: it is there or not. Profile, receipts and record
follow it and are made by a repeated call where one was killed.

    $ perennial remove-batch flights 2013-01.csv --reason "taken twice"
"""

from __future__ import annotations

import functools
import getpass
import os
from datetime import date, datetime

from perennial import discovery
from perennial.counted import counted
from perennial.data.batches import note_batches
from perennial.data.landed_rows import rows_that_came
from perennial.data.merging import BATCH, Rule
from perennial.data.receipts import Receipt, correct_receipt, receipts, withdraw_receipt, write_receipt
from perennial.data.removed import Removal, let_again, record
from perennial.data.snapshots import table_of
from perennial.data.tables import Batch, Table
from perennial.errors import EXIT_DONE, BatchRefused, UnknownName
from perennial.lineage.learned import Readers
from perennial.profiles.store import ProfileStore
from perennial.settings import Settings
from perennial.specs import DatasetSpec
from perennial.stages._ingest_scores import looked_key, scores_that_came
from perennial.stages.profile import profile_owed
from perennial.store import Store

_SHORTEST = 6  # letters of a digest that name a batch


def run(settings: Settings, store: Store, dataset: str, batch: str, *, reason: str, by: str = "", again: bool = False) -> int:
    """Remove a batch, or allow a removed one to be landed again.

    Args:
        settings: not used.
        store: where everything is.
        dataset: name of the dataset.
        batch: name of the landed file, or the beginning of its digest.
        reason: a person's words for the record.
        by: who decides; the user of this machine if empty.
        again: let the content of a batch that was taken out be landed again.

    Raises:
        UnknownName: there is no such dataset or batch, or several have that name.
        BatchRefused: it is to come back, and is in the table; it replaced or deleted rows of other batches; or the file of a later batch
            that had rows of it too is gone.
        StoredDataDamaged: a file that would be written anew was changed.
    """
    del settings
    spec = discovery.dataset(dataset)
    table = table_of(store, spec)
    chosen, by = named(table, batch, again=again), by or _user()
    if again:
        return _let_again(store, spec, chosen, by, reason)
    already = chosen.removed is not None
    profiles = ProfileStore(store, spec.name)
    try:
        chosen = table.remove(
            chosen.digest,
            {"by": by, "reason": reason, "name": chosen.name},
            Rule.of(spec),
            functools.partial(scores_that_came, store, spec) if spec.scores_of else functools.partial(rows_that_came, store, spec, table),
            lambda batch: profiles.owe(batch.digest, batch.label),
        )
    except BatchRefused as refusal:
        raise BatchRefused(f"{chosen.label} stays in the table {spec.name}: {refusal}") from None
    assert chosen.removed is not None, "it was taken out"
    profiles.remove(chosen.digest)
    left = f"{counted(chosen.left, 'row')} that {'was' if chosen.left == 1 else 'were'} left (others replaced or deleted {chosen.lost:,})"
    rows = left if chosen.lost else counted(chosen.left, "row")
    sentence = (
        f"{chosen.label}: its {rows} {'was' if chosen.left == 1 else 'were'} taken out of the table {spec.name} {chosen.removal()}; "
        f"they are not in snapshot {chosen.removed.version} and later ones."
    )
    sentence += _give(store, spec, table, profiles, chosen)
    _correct_receipts(store, spec, chosen, sentence)
    learned, measured = versions_of(store, spec, table, chosen)
    facts = chosen.removed.metadata
    removal = Removal(
        batch=chosen.digest,
        name=chosen.name,
        rows=chosen.rows,
        version=chosen.removed.version,
        by=facts.get("perennial.by", by),
        reason=facts.get("perennial.reason", reason),
        learned=[*learned, *measured],
    )
    record(store, spec.name, removal)
    note_batches(store, spec.name, spec.time_column)
    print(f"It was out already. {sentence}" if already else sentence)
    print(f"Learned from it: {', '.join(learned)}." if learned else "No version learned from it.")
    if measured:
        print(f"Measured on it, without learning from it: {', '.join(measured)}.")
    print("The next training looks at the new snapshot: start it by hand, or it comes when it is due.")
    return EXIT_DONE


def _give(store: Store, spec: DatasetSpec, table: Table, profiles: ProfileStore, removed: Batch) -> str:
    """Let profiles and receipts of the batches that have rows of a removed one tell so; a sentence on them, empty if there are none."""
    if not removed.given or removed.removed is None:
        return ""
    names, of_files = [], receipts(store, spec.name)
    for batch in table.batches():
        if batch.label not in removed.given or batch.removed:
            continue
        rows = counted(removed.given[batch.label], "row")
        names.append(f"{rows} in {batch.label}")
        profiles.owe(batch.digest, batch.label)
        said = f" {rows} of it that {removed.label} had are in the table as rows of this file since snapshot {removed.removed.version}."
        for receipt in of_files:
            if receipt.digest == batch.digest and receipt.outcome in ("appended", "duplicate") and said not in receipt.sentence:
                correct_receipt(store, spec.name, receipt.model_copy(update={"sentence": receipt.sentence + said}))
    profile_owed(store, spec)
    return f" What came again in later files stays, as theirs: {', '.join(names)}." if names else ""


def named(table: Table, batch: str, *, again: bool = False) -> Batch:
    """The batch of a name or of the beginning of a digest. Raises UnknownName where none or several are meant."""
    newest: dict[str, Batch] = {}
    for one in table.batches():
        newest.setdefault(one.digest, one)
    matching = [
        one for one in newest.values() if batch in (one.name, one.label) or (len(batch) >= _SHORTEST and one.digest.startswith(batch))
    ]
    # of several with one name those count of which there is something to do
    matching = [one for one in matching if (one.removed is None) != again] or matching
    if not matching:
        raise UnknownName(
            f"The table {table.name} never had a batch {batch}: give the name of its landed file, "
            "or the beginning of its digest as receipts have it."
        )
    if len(matching) > 1:
        several = ", ".join(f"{one.digest[:12]} ({counted(one.rows, 'row')}, since snapshot {one.added.version})" for one in matching)
        raise UnknownName(f"{len(matching)} batches of {table.name} are called {batch}: give the digest of one, {several}.")
    return matching[0]


def versions_of(store: Store, spec: DatasetSpec, table: Table, batch: Batch) -> tuple[list[str], list[str]]:
    """Names of the model versions that learned from a batch, and of those that were measured on it without.

    A version knows the batch if its snapshot has it, and learned from it if it has rows of the days of its training or validation split.
    One whose label feed has the batch learned from it: a batch of labels may be of any days.
    """
    damage: list[str] = []
    until = batch.removed.version if batch.removed else None
    versions = Readers(store, spec.name, damage).of(batch.added.version, until, _days(table, spec, batch))
    for sentence in damage:
        print(sentence)
    learned, measured = ([one.words for one in versions if one.how == how] for how in ("learned", "measured"))
    return learned, measured


def _let_again(store: Store, spec: DatasetSpec, removed_batch: Batch, by: str, reason: str) -> int:
    if removed_batch.removed is None:
        raise BatchRefused(f"The batch {removed_batch.label} is in the table {spec.name}: there is nothing to let come back.")
    removal = Removal(
        batch=removed_batch.digest,
        name=removed_batch.name,
        rows=removed_batch.rows,
        version=removed_batch.removed.version,
        by=by,
        reason=reason,
    )
    let_again(store, spec.name, removal)
    for receipt in receipts(store, spec.name):
        if receipt.digest == removed_batch.digest and receipt.outcome == "removed":
            withdraw_receipt(store, spec.name, receipt)
    note_batches(store, spec.name, spec.time_column)
    if spec.scores_of:
        store.delete(looked_key(spec))
        print(f"{removed_batch.label} may come back, once: it is taken with the next ingestion of {spec.name}.")
        return EXIT_DONE
    print(
        f"The content of {removed_batch.label} may come back, once: it is taken with the next ingestion if it still lies in the landing "
        "zone; else land it."
    )
    return EXIT_DONE


def _correct_receipts(store: Store, spec: DatasetSpec, batch: Batch, sentence: str) -> None:
    assert batch.removed is not None, "it was taken out"
    said = {"outcome": "removed", "sentence": sentence, "version": batch.removed.version, "since": batch.added.version}
    if file := batch.added.metadata.get(
        "perennial.file"
    ):  # the run that appended it may have died before its receipt, or be about to write it
        size = int(batch.added.metadata.get("perennial.size", 0))
        write_receipt(store, spec.name, Receipt(id=file, name=batch.name, size=size, digest=batch.digest, rows=batch.rows, **said))
    for receipt in receipts(store, spec.name):
        if receipt.digest == batch.digest and receipt.outcome in ("appended", "duplicate"):
            correct_receipt(store, spec.name, receipt.model_copy(update=said))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"


def _days(table: Table, spec: DatasetSpec, batch: Batch) -> tuple[date, date] | None:
    """First and last day of a batch, from the statistics of the files that its commit added; None if they do not tell."""
    if batch.gained:
        return None
    before = {file["path"] for file in table.files(batch.added.version - 1)}
    added = [file for file in table.files(batch.added.version) if file["path"] not in before]
    own = [file for file in added if file.get(f"min.{BATCH}") == file.get(f"max.{BATCH}") == batch.label]
    facts = batch.added.metadata
    if not own and "perennial.oldest" in facts:  # its rows lie in a file with those of others
        return date.fromisoformat(facts["perennial.oldest"][:10]), date.fromisoformat(facts["perennial.newest"][:10])
    added = own or added  # beside them are what a correction left of files of others
    ends = [file.get(f"{end}.{spec.time_column}") for file in added for end in ("min", "max")]
    known = [end.date() for end in ends if isinstance(end, datetime)]
    return (min(known), max(known)) if known and len(known) == len(ends) else None
