"""A note saves reading documents, and no answer depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from perennial.store import FolderStore
from perennial.store.summaries import Summaries

PLACE = "views/words.json"


class Length(BaseModel):
    letters: int


def summaries(store: FolderStore, reads: list[str] | None = None) -> Summaries[Length]:
    def sum_up(key: str, data: bytes) -> Length:
        (reads if reads is not None else []).append(key)
        return Length(letters=len(data))

    return Summaries(store, PLACE, Length, sum_up)


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "delete", "keep", "garble", "forget", "older"]), st.sampled_from("abc"), st.binary(max_size=4)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_became_of_the_note_the_answer_is_of_the_documents(tmp_path_factory: pytest.TempPathFactory, steps: list) -> None:
    """Documents written, changed and deleted; notes kept, garbled, lost or put back from before: the summaries are those of now."""
    store = FolderStore(str(tmp_path_factory.mktemp("store")))
    lasting, old = summaries(store), b"{}"
    for step, name, data in steps:
        if step == "write":
            store.write(f"w/{name}", data)
        elif step == "delete":
            store.delete(f"w/{name}")
        elif step == "keep":
            old = store.read(PLACE) if store.exists(PLACE) else old
            summaries(store).keep([f"w/{one}" for one in "abc"])
        elif step == "older":
            store.write(PLACE, old)
        elif step == "garble":
            store.write(PLACE, data)
        else:
            store.delete(PLACE)
        keys = [f"w/{one}" for one in "cab"]
        right = {key: Length(letters=len(store.read(key))) for key in keys if store.exists(key)}
        for asked in (lasting, summaries(store)):
            assert list(asked.of(keys).items()) == list(right.items())


def test_a_noted_document_is_not_read(tmp_path: Path) -> None:
    """What the note has is taken from it; what changed since is read, once."""
    store, reads = FolderStore(str(tmp_path)), []
    for name in "abc":
        store.write(f"w/{name}", b"x")
    keys = [f"w/{name}" for name in "abc"]
    summaries(store).keep(keys)
    store.write("w/b", b"xyz")
    asked = summaries(store, reads)
    assert [one.letters for one in asked.of(keys).values()] == [1, 3, 1]
    asked.of(keys)
    assert reads == ["w/b"]


NOTES = [b"", b"[]", b"{}", b"null", b'{"form": 1, "of": {"w/a": 3}}', b'{"form": 2, "of": {"w/a": ["x", {"letters": 9}]}}']


@pytest.mark.parametrize("note", NOTES)
def test_a_note_that_is_none_is_made_again(tmp_path: Path, note: bytes) -> None:
    """A garbled note, or one of another form, is passed over, and whoever writes next makes it anew."""
    store = FolderStore(str(tmp_path))
    store.write("w/a", b"xx")
    store.write(PLACE, note)
    assert summaries(store).of(["w/a"])["w/a"].letters == 2
    summaries(store).keep(["w/a"])
    reads: list[str] = []
    assert summaries(store, reads).of(["w/a"])["w/a"].letters == 2
    assert reads == []
