"""`perennial dvc`: hand a snapshot to DVC, and land what a `.dvc` file names.

    $ perennial dvc export flights --snapshot 3 --folder ~/analysis/data
    $ perennial dvc import ~/analysis/data/rides.csv.dvc --dataset rides

`export` writes the rows of a snapshot as Parquet files into a folder, and beside it the `.dvc` file that names them. In a DVC repository
their content is also put into its cache, so that `dvc status`, `dvc checkout` and `dvc push` take them as their own. `import` looks for the
files that a `.dvc` file names in the workspace, the cache and copies of a remote, checks the MD5 of each, and lands them as `land` does.
"""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

from perennial import discovery
from perennial.commands.land import land_named
from perennial.counted import counted
from perennial.data.dvc import Search, contents_below, digest_of, manifest, pointer, read_pointer, repository_of
from perennial.errors import EXIT_DONE, BatchRefused, UnknownName
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import DatasetSpec
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    action: str,
    what: str,
    snapshot: int | None = None,
    folder: Path | None = None,
    dataset: str | None = None,
    remote: Path | None = None,
    only: str = "",
) -> int:
    """Do what the action says.

    Raises:
        UnknownName: something that the action needs is not named, or does not exist.
        BatchRefused: what a `.dvc` file names is nowhere or damaged, or may not land; or the folder to write into has something else.
    """
    if action == "export":
        if folder is None:
            raise UnknownName(f"Name the folder to write into: perennial dvc export {what} --folder FOLDER.")
        return export(store, discovery.dataset(what), snapshot, folder)
    if dataset is None:
        raise UnknownName(f"Say which dataset the files of {what} belong to: perennial dvc import {what} --dataset NAME.")
    os.umask(0o077)  # the store is private, as everywhere; what is exported has the rights that its owner gives to files
    return take_in(settings, store, Path(what), discovery.dataset(dataset), remote, only)


def export(store: Store, spec: DatasetSpec, snapshot: int | None, to: Path) -> int:
    """Write the files of a snapshot, its `.dvc` file and, in a DVC repository, its cache. Doing it again changes nothing.

    Raises:
        UnknownName: there is no such snapshot.
        BatchRefused: the folder to write into has something that no export wrote.
        StoredDataDamaged: a file of the snapshot has changed since it was written.
    """
    import pyarrow.parquet as pq

    from perennial.data.snapshots import latest_snapshot, snapshot_at

    chosen = latest_snapshot(store, spec) if snapshot is None else snapshot_at(store, spec, snapshot)
    if chosen is None:
        raise UnknownName(f"{spec.name} has no snapshot yet: ingest a batch first.")
    chosen.refuse_damaged()
    place, fresh, named = to / spec.name, to / f".{spec.name}.perennial", to / f"{spec.name}.dvc"
    shutil.rmtree(fresh, ignore_errors=True)  # of an export that was killed
    fresh.mkdir(parents=True)
    try:
        rows = chosen.table.dataset(chosen.version)
        for fragment in rows.get_fragments():
            own = fragment.to_table(schema=rows.schema, columns=[column.name for column in spec.columns])
            pq.write_table(own.replace_schema_metadata(None), fresh / Path(fragment.path).name, compression="zstd")
        files = contents_below(fresh)
        sha256 = chosen.rows_digest.rpartition(":")[2]
        meta = {"perennial": {"dataset": spec.name, "snapshot": chosen.version, "sha256": sha256}}
        _refuse_others(place, named, digest_of(manifest(files)))
        repository = repository_of(to)
        if repository:
            for one in files:
                repository.keep(fresh / one.path, one.md5)
            repository.keep(manifest(files), digest_of(manifest(files)))
            _ignore(to / ".gitignore", f"/{spec.name}")
        if place.exists():
            shutil.rmtree(place)  # its content is as its .dvc file says, and so in DVC's hands
        fresh.replace(place)
        _write(named, pointer(spec.name, files, meta))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    size = sum(one.size for one in files)
    print(on_terminal(
        f"Snapshot {chosen.version} of {spec.name} lies in {place}: {counted(len(files), 'file')}, {size:,} bytes, named by {named}. "
        + (f"Its content is in the cache {repository.cache}. Next: git add {named} {named.with_name('.gitignore')}, git commit, dvc push."
           if repository else f"{to} lies in no DVC repository: in one (`dvc init`), export again or run `dvc commit {named.name}`.")
    ))  # fmt: skip
    return EXIT_DONE


def take_in(settings: Settings, store: Store, file: Path, spec: DatasetSpec, remote: Path | None, only: str) -> int:
    """Land the files that a `.dvc` file names; those that have landed are left alone.

    Raises:
        UnknownName: there is no such file or folder.
        BatchRefused: one of them is nowhere, damaged, or may not land; nothing is landed then.
    """
    if remote is not None and not remote.is_dir():
        raise UnknownName(f"{remote} is no folder: name a copy of the remote, or leave --remote out.")
    search = Search(file, [remote] if remote else [])
    named: dict[str, Path] = {}
    for out in read_pointer(file):
        for name, path in search.files(out):
            if name in named:
                raise BatchRefused(f"{file} names two files {name}, of which one would replace the other: nothing was landed.")
            named[name] = path
    chosen = {name: path for name, path in named.items() if not only or fnmatch(name, only)}
    if not chosen:
        why = f"and none is called like {only}" if named else "so that there is nothing to land"
        raise UnknownName(f"{file} names {counted(len(named), 'file')}, {why}.")
    return land_named(settings, store, chosen, spec)


def _refuse_others(place: Path, named: Path, digest: str) -> None:
    """Raises BatchRefused if a folder has files that would be lost: others than its `.dvc` file names."""
    if not place.exists():
        return
    if not place.is_dir():
        raise BatchRefused(f"{place} is a file, and the snapshot is a folder of that name: take another folder with --folder.")
    known = {digest, *(out.md5 for out in (read_pointer(named) if named.exists() else []))}
    if digest_of(manifest(contents_below(place))) not in known:
        raise BatchRefused(
            f"{place} has other files than {named.name} names, and they would be lost: run `dvc commit` or `dvc checkout` for it, "
            "move it away, or take another folder with --folder. Nothing was changed."
        )


def _ignore(file: Path, line: str) -> None:
    """Have Git leave a folder alone, as `dvc add` does."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if line not in before.splitlines():
        _write(file, f"{before}{'' if not before or before.endswith(chr(10)) else chr(10)}{line}\n")


def _write(file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}.perennial")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
