"""DVC's own files: the `.dvc` file that stands in Git for data, the manifest of a folder, and the cache that keeps content by its MD5.

    flights.dvc                         names a file, or a folder by the MD5 of its manifest
    .dvc/cache/files/md5/4f/81c2...dir  the manifest: the MD5 and the path of each file
    .dvc/cache/files/md5/76/4efa...     the content of a file

DVC 2 kept content below `.dvc/cache/` itself, under the MD5 of text without the carriage returns of Windows; such files are read, too.

>>> files = [Content("b" * 32, "b.csv", 3), Content("a" * 32, "a.csv", 4)]
>>> print(manifest(files).decode())  # doctest: +ELLIPSIS
[{"md5": "aaaa...", "relpath": "a.csv"}, {"md5": "bbbb...", "relpath": "b.csv"}]
>>> print(pointer("rides", files), end="")  # doctest: +ELLIPSIS
outs:
- md5: ....dir
  size: 7
  nfiles: 2
  hash: md5
  path: rides
"""

from __future__ import annotations

import configparser
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from perennial.errors import BatchRefused, Fault, UnknownName

Hash = Literal["md5", "md5-dos2unix"]  # what a digest is of: the bytes; or, by DVC 2, text without carriage returns
FOLDER = ".dir"  # how the digest of a folder ends
_DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")
_READ = 1 << 20  # bytes that DVC looks at together, and by whose first _LOOK it tells text from other bytes
_LOOK = 512
_TEXT = bytes(range(32, 127)) + b"\n\r\t\f\b"
_NOT_OURS = ("etag", "checksum")  # digests of a cloud's own


@dataclass(frozen=True)
class Content:
    """One file: its MD5, and its path in its folder; empty if it is no part of one."""

    md5: str
    path: str = ""
    size: int = 0  # bytes; 0 if not told


@dataclass(frozen=True)
class Output:
    """What a `.dvc` file names: a file, or a folder."""

    path: Path  # where it lies in the workspace
    md5: str
    hash: Hash

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder: then the digest is of its manifest."""
        return self.md5.endswith(FOLDER)


def md5_of(path: Path, form: Hash = "md5") -> str:
    """The digest of a file, as DVC 3 (`md5`) or DVC 2 (`md5-dos2unix`) makes it."""
    made = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_READ):
            made.update(block.replace(b"\r\n", b"\n") if form != "md5" and _is_text(block[:_LOOK]) else block)
    return made.hexdigest()


def manifest(files: Sequence[Content]) -> bytes:
    """The manifest of a folder, byte for byte as DVC writes it."""
    entries = sorted(({"md5": one.md5, "relpath": one.path} for one in files), key=lambda entry: entry["relpath"])
    return json.dumps(entries, sort_keys=True).encode()


def digest_of(content: bytes) -> str:
    """The digest of a manifest, as a `.dvc` file names it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + FOLDER


def pointer(name: str, files: Sequence[Content], meta: Mapping[str, Any] | None = None) -> str:
    """The text of the `.dvc` file of a folder.

    Args:
        name: of the folder, beside which the `.dvc` file lies.
        files: all that it has.
        meta: further facts, which DVC keeps and does not look at.
    """
    import yaml

    digest, size = digest_of(manifest(files)), sum(one.size for one in files)
    out = {"md5": digest, "size": size, "nfiles": len(files), "hash": "md5", "path": name}
    document = {"outs": [out], **({"meta": dict(meta)} if meta else {})}
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def read_pointer(path: Path) -> list[Output]:
    """What a `.dvc` file names.

    Raises:
        UnknownName: there is no such file.
        BatchRefused: it is no `.dvc` file, or names nothing by its MD5.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownName(f"{path} cannot be read ({error.strerror}): name a .dvc file, such as data/rides.csv.dvc.") from None
    except (UnicodeError, yaml.YAMLError):
        raise BatchRefused(f"{path} is no .dvc file: it is no YAML. Name the file that `dvc add` wrote.") from None
    outs = document.get("outs") if isinstance(document, dict) else None
    if not isinstance(outs, list) or not outs or not all(isinstance(out, dict) for out in outs):
        raise BatchRefused(f"{path} is no .dvc file: it has no list `outs`. Name the file that `dvc add` wrote.")
    beside = path.parent / str(document.get("wdir") or ".")
    return [_output(out, beside, path) for out in outs]


def _output(out: Mapping[str, Any], beside: Path, file: Path) -> Output:
    name = str(out.get("path", "")).strip()
    digest = str(out.get("md5", "")).lower()
    if not name:
        raise BatchRefused(f"{file} names an output without a path: mend it, or write it anew with `dvc add`.")
    if "://" in name:
        raise BatchRefused(f"{file} names {name}, which lies outside of the repository: fetch it, and land it with `perennial land`.")
    if not digest:
        theirs = next((one for one in _NOT_OURS if one in out), "")
        why = f"only the {theirs} of another service" if theirs else "no MD5"
        raise BatchRefused(f"{file} has {why} for {name}, so that nobody can tell whether a file is the right one: run `dvc commit` first.")
    if not _DIGEST.fullmatch(digest):
        raise BatchRefused(f"{file} has {digest!r} for {name}, which is no MD5: mend it, or write it anew with `dvc add`.")
    form = out.get("hash", "md5-dos2unix")
    if form not in ("md5", "md5-dos2unix"):
        raise BatchRefused(
            f"{file} has a digest of the kind {form} for {name}: only MD5 can be checked. Land the files with `perennial land`."
        )
    return Output(beside / name, digest, form)


def read_manifest(content: bytes, where: str) -> list[Content]:
    """The files of a folder, from its manifest.

    Raises:
        BatchRefused: it is none, or a path in it leads out of the folder.
    """
    try:
        entries = [Content(str(entry["md5"]), str(entry["relpath"])) for entry in json.loads(content)]
    except (ValueError, TypeError, KeyError):
        raise BatchRefused(f"{where} is no manifest of a folder: delete it, and run `dvc pull`.") from None
    for one in entries:
        parts = PurePosixPath(one.path).parts
        if not parts or one.path.startswith("/") or ".." in parts or "\\" in one.path or not _DIGEST.fullmatch(one.md5):
            raise BatchRefused(
                f"{where} names {one.path!r}, which is no file of the folder: take nothing from there, and ask who wrote it."
            )
    return entries


@dataclass(frozen=True)
class Repository:
    """A DVC repository on this machine."""

    root: Path
    cache: Path

    def keep(self, content: bytes | Path, md5: str) -> None:
        """Put content into the cache, as DVC does: read-only, and whole or not at all."""
        place = object_place(self.cache, md5, "md5")
        if place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f"{place.name}.perennial")
        unfinished.unlink(missing_ok=True)
        unfinished.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        unfinished.chmod(0o444)
        unfinished.replace(place)


def repository_of(folder: Path) -> Repository | None:
    """The DVC repository that a folder lies in; None if it lies in none. Raises Fault if its configuration cannot be read."""
    root = next((above for above in (folder.absolute(), *folder.absolute().parents) if (above / ".dvc").is_dir()), None)
    if root is None:
        return None
    own = root / ".dvc"
    config = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        config.read([own / "config", own / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeError) as error:
        raise Fault(
            f"The configuration of DVC in {own} cannot be read ({str(error).splitlines()[0]}): mend it, `dvc config -l` tells more."
        ) from None
    return Repository(root, own / (config.get("cache", "dir", fallback="") or "cache").strip("'\""))


def object_place(cache: Path, md5: str, form: Hash) -> Path:
    """Where a cache, or a remote that is a folder, has content."""
    return (cache / "files" / "md5" if form == "md5" else cache) / md5[:2] / md5[2:]


def files_below(folder: Path) -> Iterator[Path]:
    """Every file of a folder and the folders in it."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def contents_below(folder: Path, form: Hash = "md5") -> list[Content]:
    """What a folder has, file by file."""
    return [Content(md5_of(path, form), path.relative_to(folder).as_posix(), path.stat().st_size) for path in files_below(folder)]


class Search:
    """Looks for content: in the workspace, in the cache, in folders that are copies of a remote.

    Args:
        pointer: the `.dvc` file.
        remotes: such folders.
    """

    def __init__(self, pointer: Path, remotes: Sequence[Path] = ()) -> None:
        repository = repository_of(pointer.parent)
        self._caches = [*([repository.cache] if repository else []), *remotes]
        self._words = " and ".join(["the workspace", *(str(cache) for cache in self._caches)])

    def files(self, out: Output) -> Iterator[tuple[str, Path]]:
        """Each file that an output names: its name, that of its folder before it, and a file with the right content.

        Raises:
            BatchRefused: content is nowhere, or damaged.
        """
        if not out.is_folder:
            yield out.path.name, self._found(out.path, out.path.name, out.md5, out.hash)
            return
        for one in self._manifest(out):
            name = f"{out.path.name}/{one.path}"
            yield name, self._found(out.path / one.path, name, one.md5, out.hash)

    def _manifest(self, out: Output) -> list[Content]:
        for cache in self._caches:
            place = object_place(cache, out.md5, out.hash)
            if place.is_file() and digest_of(content := place.read_bytes()) == out.md5:
                return read_manifest(content, str(place))
        if out.path.is_dir() and digest_of(manifest(there := contents_below(out.path, out.hash))) == out.md5:
            return there
        raise BatchRefused(
            f"The folder {out.path.name} as its .dvc file names it ({out.md5}) is nowhere in {self._words}: run `dvc pull`, or name a "
            "copy of its remote with --remote FOLDER."
        )

    def _found(self, in_workspace: Path, name: str, md5: str, form: Hash) -> Path:
        damaged = ""
        for place in (in_workspace, *(object_place(cache, md5, form) for cache in self._caches)):
            if not place.is_file():
                continue
            if (given := md5_of(place, form)) == md5:
                return place
            damaged = damaged or f"{place} has the MD5 {given}"
        if damaged:
            raise BatchRefused(
                f"{name} is not the file that is named ({md5}): {damaged}. Run `dvc checkout` if you changed it, or delete what is damaged "
                "and run `dvc pull`."
            )
        raise BatchRefused(
            f"{name} ({md5}) is nowhere in {self._words}: run `dvc pull`, or name a copy of its remote with --remote FOLDER."
        )


def _is_text(block: bytes) -> bool:
    """As DVC tells it: no zero byte, and three in ten at most that are no letters."""
    return b"\0" not in block and len(block.translate(None, _TEXT)) <= 0.3 * len(block)
