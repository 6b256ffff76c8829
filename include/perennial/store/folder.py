"""The store in a folder of this machine, or in one that several machines mount."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from stat import S_ISREG

from typing_extensions import override

from perennial.errors import StoreUnreachable
from perennial.store.changes import Changes, FolderChanges, is_nothing, stored
from perennial.store.interface import FOLDERS, Store, StoredObject, checked_key
from perennial.store.open_files import open_for_writing

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def private_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for this user only. Raises NotADirectoryError."""
    if folder.is_dir():
        return
    for place in reversed([place for place in (folder, *folder.parents) if not place.is_dir()]):
        try:
            place.mkdir(mode=PRIVATE_FOLDER)
        except FileExistsError as error:  # another process made it, or it is a file
            if not place.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "a file stands where a folder is needed", str(place)) from error


def tighten(folder: Path) -> None:
    """Let nobody but this user into a folder, if it is there and the user's own."""
    with contextlib.suppress(FileNotFoundError):
        if folder.is_dir() and folder.stat().st_uid == os.geteuid():
            folder.chmod(PRIVATE_FOLDER)


def _private_file(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


def _holds_an_object(folder: str) -> bool:
    """Whether an object lies somewhere below a folder; looks no further than the first."""
    with os.scandir(folder) as entries:
        return any(
            _holds_an_object(entry.path) if entry.is_dir() else entry.is_file() and not entry.name.endswith(".unfinished")
            for entry in entries
        )


class FolderStore(Store):
    """A folder of this machine, or one that several machines mount. What it writes only its user can read."""

    def __init__(self, root: str) -> None:
        self.path = Path(root).expanduser().absolute()
        self.root = str(self.path)

    @contextlib.contextmanager
    def _sentences(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "has no room left: free some space" if full else f"cannot be used ({error.strerror}): check the folder and its rights"
            raise StoreUnreachable(f"The store {self.root} {what} (at {key}).") from error

    @contextlib.contextmanager
    def _sentences_of_reading(self, key: str) -> Iterator[None]:
        with self._sentences(key):
            try:
                yield
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise KeyError(key) from None

    def _file(self, key: str) -> Path:
        return self.path / checked_key(key)

    def _unfinished(self, key: str) -> Path:
        target = self._file(key)
        private_folder(target.parent)
        begin = os.fsdecode(os.fsencode(target.name)[:180])  # a name has at most 255 bytes, whatever its letters
        return target.with_name(f".{begin}.{uuid.uuid4().hex}.unfinished")

    def _write_unfinished(self, key: str, data: bytes) -> Path:
        unfinished = self._unfinished(key)
        try:
            with open(unfinished, "wb", opener=_private_file) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return unfinished

    @override
    def read(self, key: str) -> bytes:
        with self._sentences_of_reading(key):
            return self._file(key).read_bytes()

    @override
    def write(self, key: str, data: bytes) -> None:
        with self._sentences(key):
            os.replace(self._write_unfinished(key, data), self._file(key))

    @override
    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._sentences(key):
            unfinished = self._write_unfinished(key, data)
            try:
                os.link(unfinished, self._file(key))  # fails if the name is taken: the atomic test-and-set of POSIX
            except FileExistsError:
                return False
            finally:
                unfinished.unlink()
            return True

    @override
    def list(self, prefix: str) -> Iterator[StoredObject]:
        with self._sentences(prefix):
            yield from self._walk(prefix)

    def _walk(self, prefix: str) -> Sequence[StoredObject]:
        objects = []
        for key, entry in self._entries(checked_key(prefix).rstrip("/")):
            try:
                status = entry.stat()
            except OSError as error:
                if is_nothing(error):  # removed since the walk saw it
                    continue
                raise
            if S_ISREG(status.st_mode):
                objects.append(stored(key, status))
        return sorted(objects, key=lambda item: item.key)

    def _entries(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Everything below a folder that is no folder and no unfinished write, with its key. Links to folders are not followed."""
        try:
            entries = os.scandir(f"{self.root}/{folder}")
        except (FileNotFoundError, NotADirectoryError):  # any other error is raised: a folder without rights would look like an empty one
            return
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from self._entries(f"{folder}/{entry.name}")
                elif not entry.name.endswith(".unfinished"):
                    yield f"{folder}/{entry.name}", entry

    @override
    def keys(self, prefix: str) -> Iterator[str]:
        with self._sentences(prefix):
            entries = list(self._entries(checked_key(prefix).rstrip("/")))
        yield from (key for key, entry in entries if entry.is_file(follow_symlinks=False) or (entry.is_symlink() and self.exists(key)))

    @override
    def changes(self, prefix: str) -> Changes:
        return FolderChanges(self.root, checked_key(prefix).rstrip("/"), self._sentences)

    @override
    def folders(self, prefix: str) -> Sequence[str]:
        with self._sentences(prefix):
            try:
                with os.scandir(self._file(prefix)) as entries:
                    return sorted(entry.name for entry in entries if entry.is_dir() and _holds_an_object(entry.path))
            except (FileNotFoundError, NotADirectoryError):
                return []

    @override
    def lies_in(self, key: str, folder: str) -> bool:
        with self._sentences(key):
            return self._file(key).resolve().is_relative_to(self._file(folder).resolve())

    @override
    def delete(self, key: str) -> None:
        with self._sentences(key):
            self._file(key).unlink(missing_ok=True)

    @override
    def download(self, key: str, path: Path) -> None:
        with self._sentences_of_reading(key):
            shutil.copyfile(self._file(key), path)

    @override
    def upload(self, path: Path, key: str) -> None:
        with self._sentences(key):
            unfinished = self._unfinished(key)
            try:
                with open(path, "rb") as source, open(unfinished, "wb", opener=_private_file) as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, self._file(key))
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise

    @override
    def sha256(self, key: str) -> str:
        with self._sentences_of_reading(key), open(self._file(key), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @override
    def being_written(self, keys: Collection[str]) -> frozenset[str]:
        files = {self._file(key): key for key in keys}
        return frozenset(files[path] for path in open_for_writing(files))

    @override
    def copy(self, source: str, target: str) -> None:
        with self._sentences(source):
            if not self._file(source).is_file():
                raise KeyError(source)
            unfinished = self._unfinished(target)
            try:
                os.link(self._file(source), unfinished)  # gigabytes at no cost
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                unfinished.touch(PRIVATE_FILE)
                shutil.copyfile(self._file(source), unfinished)
            os.replace(unfinished, self._file(target))
            unfinished.unlink(missing_ok=True)  # renaming onto another link of the same file leaves both names

    @override
    def make_folder(self, key: str) -> None:
        with self._sentences(key):
            private_folder(self._file(key))

    @override
    def make_private(self) -> None:
        for name in FOLDERS:
            tighten(self.path / name)

    @override
    def stat(self, key: str) -> StoredObject | None:
        with self._sentences(key):
            try:
                stat = self._file(key).stat()
            except OSError as error:
                if is_nothing(error):
                    return None
                raise
        return stored(key, stat) if S_ISREG(stat.st_mode) else None
