"""`perennial verify`: has each file of a table, its log and a version the bytes it was written with, is each
ledger's chain unbroken? Reads all of them once.

    $ perennial verify
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from perennial.counted import counted
from perennial.data.hashes import damage, notes
from perennial.data.log import read_log
from perennial.data.tables import Table
from perennial.errors import EXIT_DONE, EXIT_FAULT, PerennialError
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import damaged_files, read_manifest, sealed_versions
from perennial.settings import Settings
from perennial.store import Store


@dataclass
class _Verified:
    """The result of checking one table, model or ledger."""

    name: str
    what: str = ""
    damaged: list[str] = field(default_factory=list)
    remark: str = ""
    whole: bool = True  # whether all bytes are known since they were written


def run(settings: Settings, store: Store) -> int:
    """Print a line for each table, each model's versions and each ledger, and one for each thing that is damaged; 1 if there is one."""
    del settings
    sound = whole = True
    for verified in _everything(store):
        print(
            f"{verified.name}: {verified.what}, {f'{len(verified.damaged)} damaged' if verified.damaged else 'sound'}.{verified.remark}",
            flush=True,
        )
        for sentence in verified.damaged:
            print(f"  {sentence}")
        sound, whole = sound and not verified.damaged, whole and verified.whole
    print(
        f"{'' if whole else 'As far as it is known (see above): '}Every file of the tables, "
        "their logs and the version folders has the bytes it was written with, every ledger an unbroken chain."
        if sound
        else "Something is damaged: restore what is named above from a backup, then verify again."
    )
    return EXIT_DONE if sound else EXIT_FAULT


def _everything(store: Store) -> Iterator[_Verified]:
    tables, manifests, ledgers = _tables(store), sealed_versions(store), {key.split("/")[1] for key in _keys(store, "ledger")}
    for name in sorted(tables):
        yield _table(store, name)
    for model, digests in sorted(manifests.items()):
        verified = _Verified(f"The versions of {model}", counted(len(digests), "folder"))
        for digest in digests:
            try:
                verified.damaged += damaged_files(store, model, read_manifest(store, model, digest))
            except PerennialError as error:
                verified.damaged.append(str(error))
        yield verified
    for model in sorted(ledgers):
        ledger = Ledger(store, model)
        problems = ledger.verify()
        count = sum(1 for _ in _keys(store, f"ledger/{model}"))
        remark = f" `perennial ledger verify --model {model}` holds its end against the registry, too."
        yield _Verified(f"The ledger of {model}", counted(count, "entry", "entries"), [f"{problem}." for problem in problems], remark)


def _table(store: Store, name: str) -> _Verified:
    """Every file that ever was in a table: older snapshots need them."""
    verified, log = _Verified(f"The table {name}"), read_log(store, name)
    verified.damaged += Table(store, name).log_damage(log, log.version)
    kept, added = dict(log.hashes), log.added
    late: dict[str, datetime] = {}
    for note in notes(store, name):
        late |= {path: when for path, when in note.late.items() if path not in late}
        kept |= {path: hashed for path, hashed in note.files.items() if path not in kept}
    verified.damaged += damage(store, name, kept)
    unknown = sorted(added.keys() - kept.keys())
    for path in unknown:
        there = store.stat(f"tables/{name}/{path}")
        if there is None or there.size != added[path]:
            verified.damaged.append(
                f"tables/{name}/{path} {'is missing' if there is None else 'has another size'}: restore it from a backup."
            )
    verified.what = f"{counted(len(added), 'file')}, {counted(sum(added.values()), 'byte')}"
    if late:
        since = f"{min(late.values()):%Y-%m-%d %H:%M} UTC"
        verified.remark += f" The bytes of {counted(len(late), 'file is', 'files are')} known since {since}, not before."
    if unknown and not verified.damaged:
        Table(store, name).hashes()  # of the newest version: from now on they are known
    if unknown:
        verified.remark += f" Of {counted(len(unknown), 'file')} from before hashes were kept names and sizes alone were known until now."
    verified.whole = not (late or unknown)
    return verified


def _tables(store: Store) -> set[str]:
    """Names of the tables that have a log."""
    pairs = (key.removeprefix("tables/").rpartition("/_delta_log/") for key in _keys(store, "tables"))
    return {name for name, between, _ in pairs if between}


def _keys(store: Store, prefix: str) -> Iterator[str]:
    return (item.key for item in store.list(prefix))
