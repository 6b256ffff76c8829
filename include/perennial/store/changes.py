"""Finds what is new or changed below a folder of a store, look by look, without listing everything each time. Light.

A look costs the same however many objects there are. What usually shows a new object is looked at each time: in a folder of a disk the
time at which each folder was changed and the files written last, in S3 the end of the listing and the places where new keys came last.
The rest is looked at by turns, a stretch a look, so that a change that neither of these shows is found, too, only later.

    >>> import tempfile
    >>> from perennial.store import open_store
    >>> store = open_store(tempfile.mkdtemp())
    >>> store.write("landing/rides/monday.csv", b"ride,km")
    >>> changes = store.changes("landing/rides")
    >>> [item.key for item in changes.look()], [item.key for item in changes.look()]  # the first look gives all
    (['landing/rides/monday.csv'], [])
    >>> store.write("landing/rides/friday.csv", b"ride,km")
    >>> [item.key for item in changes.look()]
    ['landing/rides/friday.csv']
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from stat import S_ISREG

from perennial.store.interface import StoredObject

NEWEST = 32  # files written last, which are looked at each time: what grew is likely to grow again
RECENT = 32  # folders changed last, which are looked at each time
FOLDERS_A_TURN, FILES_A_TURN = 48, 150  # so many others are looked at when it is their turn
SETTLED_SECONDS = 3.0  # file systems tell a folder's time of change in steps; within one of them another file may have come
UNKNOWN = (0, 0)  # of a folder that was not listed yet
PAGE = 1_000  # keys that S3 lists at a request
PAGE_SECONDS = 10.0  # between two pages of S3 whose turn it is: reading one takes 40 ms of a processor
PLACES = 8  # places in the middle of S3's listing where new keys came last
PEEK = 10  # keys listed after such a place


class Changes(ABC):
    """What is new or changed below a folder of a store since the last look. To be used by one thread at a time.

    It remembers two numbers for each object that it ever saw. After an error nothing is known any more: make another.
    """

    @abstractmethod
    def look(self) -> Iterator[StoredObject]:
        """The objects that are new or changed, as far as this look shows them; all at the first look. To be read to the end."""


class FolderChanges(Changes):
    """Changes in a folder of a disk.

    Args:
        root: the store's folder.
        top: key of the folder to look into.
        sentences: turns an error of the disk into a sentence.
    """

    def __init__(self, root: str, top: str, sentences: Callable[[str], AbstractContextManager[None]]) -> None:
        self._root, self._top, self._sentences = root, top, sentences
        self._states: dict[int, int] = {}  # of each file that is known: hash of key and inode -> hash of time and size
        self._newest: dict[str, tuple[int, int]] = {}  # key -> time of change, hash of key and inode
        self._folders = {top: UNKNOWN}  # of each folder its time of change, one more if it must be listed again, and its inode
        self._recent: list[str] = [top]  # the folders changed last
        self._folders_turn: Iterator[str] = iter(())
        self._files_turn: Iterator[tuple[str, os.DirEntry[str]]] = iter(())

    def look(self) -> Iterator[StoredObject]:
        """New and changed files; see `Changes.look`."""
        with self._sentences(self._top):
            for folder in (*self._recent, *self._folders_whose_turn_it_is()):
                yield from self._list_if_changed(folder)
            for key, (_, place) in list(self._newest.items()):
                yield from self._look_at(key, place)
            self._forget_older()
            yield from self._files_whose_turn_it_is()

    def _folders_whose_turn_it_is(self) -> list[str]:
        if len(self._folders) <= len(self._recent):
            return []
        turn = list(itertools.islice(self._folders_turn, FOLDERS_A_TURN))
        if len(turn) < FOLDERS_A_TURN:
            self._folders_turn = iter(list(self._folders))
        return turn

    def _list_if_changed(self, folder: str) -> Iterator[StoredObject]:
        try:
            status = os.stat(f"{self._root}/{folder}")
            state = status.st_mtime_ns, status.st_ino
            if self._folders.get(folder) == state:
                return
            entries = os.scandir(f"{self._root}/{folder}")
        except (FileNotFoundError, NotADirectoryError):
            self._folders.pop(folder, None)  # it is found anew by the one above it; the top is looked at each time
            return
        self._folders[folder] = state if time.time() - status.st_mtime > SETTLED_SECONDS else (state[0] + 1, state[1])
        with entries:
            for entry in entries:
                key = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if self._folders.get(key, UNKNOWN)[1] != entry.inode():  # it is new, or another in the place of one that is gone
                        yield from self._list_if_changed(key)
                elif (place := hash((key, entry.inode()))) not in self._states:
                    yield from self._look_at(key, place)
        changed = heapq.nlargest(RECENT, self._folders, key=lambda key: self._folders[key])
        self._recent = list(dict.fromkeys((self._top, *changed)))

    def _look_at(self, key: str, place: int, entry: os.DirEntry[str] | None = None) -> Iterator[StoredObject]:
        """A file, if it is new or changed."""
        try:
            status = entry.stat() if entry else os.stat(f"{self._root}/{key}")
        except OSError as error:
            if not is_nothing(error):
                raise
            self._newest.pop(key, None)
            self._states.pop(place, None)
            return
        state = hash((status.st_mtime_ns, status.st_size))
        if self._states.get(place) == state:
            return
        self._states[place] = state
        if S_ISREG(status.st_mode) and not key.endswith(".unfinished"):
            self._newest[key] = status.st_mtime_ns, place
            if len(self._newest) > 4 * NEWEST:
                self._forget_older()
            yield stored(key, status)

    def _forget_older(self) -> None:
        self._newest = dict(heapq.nlargest(NEWEST, self._newest.items(), key=lambda item: item[1]))

    def _files_whose_turn_it_is(self) -> Iterator[StoredObject]:
        turn = list(itertools.islice(self._files_turn, FILES_A_TURN))
        if len(turn) < FILES_A_TURN:
            self._files_turn = self._walk(self._top)
        for key, entry in turn:
            yield from self._look_at(key, hash((key, entry.inode())), entry)

    def _walk(self, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Every file, folder by folder, read as far as somebody asks."""
        try:
            entries = os.scandir(f"{self._root}/{folder}")
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                key = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if key not in self._folders:
                        self._folders[key] = UNKNOWN
                        self._recent.append(key)
                    yield from self._walk(key)
                else:
                    yield key, entry


class PrefixChanges(Changes):
    """Changes below a prefix of S3.

    Args:
        page: gives the objects after a key, so many at most, in order of key: one request.
        clock: tells seconds.
    """

    def __init__(self, page: Callable[[str, int], Sequence[StoredObject]], clock: Callable[[], float] = time.monotonic) -> None:
        self._page, self._clock = page, clock
        self._states: dict[int, int] = {}  # of each object that is known: hash of key -> hash of ETag
        self._end = self._turn_begins = ""  # the last key, and that after which the next turn begins
        self._places: list[str] = []  # keys in the middle after which new ones came
        self._turned: float | None = None

    def look(self) -> Iterator[StoredObject]:
        """New and changed objects; see `Changes.look`."""
        self._end = (yield from self._follow(self._end, PAGE)) or self._end
        if self._turned is None:
            self._turned = self._clock()
            return
        if self._places:
            place = self._places.pop(0)
            self._places.append((yield from self._follow(place, PEEK)) or place)
        if self._clock() - self._turned >= PAGE_SECONDS:
            self._turned = self._clock()
            yield from self._objects_whose_turn_it_is()

    def _follow(self, after: str, most: int) -> Generator[StoredObject, None, str]:
        """The objects after a key, and on as long as all are new. Returns the key of the last new one, empty if there is none."""
        last = ""
        while True:
            fresh = [item for item in self._page(after, most) if self._is_new(item)]
            yield from fresh
            last = fresh[-1].key if fresh else last
            if len(fresh) < most:
                return last
            after, most = last, PAGE

    def _objects_whose_turn_it_is(self) -> Iterator[StoredObject]:
        before, objects = self._turn_begins, self._page(self._turn_begins, PAGE)
        for item in objects:
            known = hash(item.key) in self._states
            if self._is_new(item):
                yield item
                if not known:
                    self._places = [item.key, *(place for place in self._places if place != before)][:PLACES]
            before = item.key
        self._turn_begins = before
        if len(objects) < PAGE:
            self._end, self._turn_begins = before, ""  # the end is another where the last keys were deleted

    def _is_new(self, item: StoredObject) -> bool:
        place, state = hash(item.key), hash(item.etag)
        was, self._states[place] = self._states.get(place), state
        return was != state


def stored(key: str, status: os.stat_result) -> StoredObject:
    """A file of a folder as a listing tells of it."""
    return StoredObject(key, status.st_size, status.st_mtime, f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}")


def is_nothing(error: OSError) -> bool:
    """Whether there is no file: gone, or a link that leads to itself."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
