"""Stage collect, with a source whose reader does what a test says: what lands, what is told, and where it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from perennial.errors import Fault, SettingMissing, SourceRefused, SourceUnreachable, StoredDataDamaged
from perennial.sources.interface import ComeLater, Look, Piece, Tally
from perennial.specs import Column, DatasetSpec, SourceSpec
from perennial.testing.collecting import Collecting

Reads = Callable[[Look], Iterator[Piece]]


class SpokenSource(SourceSpec):
    """A source for tests."""

    word: str = "a"

    @property
    def place(self) -> str:
        return f"what {self.word} says"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reads], None]:
    """Makes a function the reader of the source."""

    def reads(pieces: Reads) -> None:
        reader = ModuleType("perennial.sources.spoken")
        reader.pieces = pieces  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, reader.__name__, reader)

    return reads


def _said(tmp_path: Path, source: SourceSpec | None, **more: Any) -> Collecting:
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    spec = DatasetSpec(name="said", title="Said", owner="tests", columns=columns, key=("id",), event_time="at", source=source)
    return Collecting(spec, tmp_path / "store", **more)


def _piece(look: Look, *ids: int, **more: Any) -> Piece:
    path = look.scratch / "words.csv"
    path.write_text("id,at\n" + "".join(f"{number},2026-03-01\n" for number in ids))
    return Piece({"last": max(ids)}, (("words.csv", path),), Tally(landed=len(ids)), **more)


def test_each_piece_is_safe_before_the_next_is_read(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """DM-01, DE-22: The source breaks after two pieces: they land and are taken, and the next look begins after them."""
    began = []

    def breaks(look: Look) -> Iterator[Piece]:
        first = (look.watermark or {"last": 0})["last"] + 1
        began.append(first)
        yield _piece(look, first, first + 1)
        yield _piece(look, first + 2)
        if first == 1:
            raise SourceUnreachable("It is gone.")

    reads(breaks)
    said = _said(tmp_path, SpokenSource())
    with pytest.raises(SourceUnreachable):
        said.collect()
    assert said.take_in().appended == {"words-00000001.csv": 2, "words-00000002.csv": 1}
    result = said.collect()
    assert (began, result.rows, result.files) == ([1, 4], 3, ("words-00000003.csv", "words-00000004.csv"))
    assert result.sentence == "3 rows of what a says landed for said in 2 files."
    said.take_in()
    assert said.keys() == dict.fromkeys(range(1, 7), 1)


def test_a_server_that_wants_to_be_left_alone(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """DM-01: What was read before lands; the result says until when, and the sentence why."""
    at = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    def busy(look: Look) -> Iterator[Piece]:
        yield _piece(look, 1)
        raise ComeLater("the server asks to wait until 12:00 (429).", at)

    reads(busy)
    result = _said(tmp_path, SpokenSource()).collect()
    assert (result.outcome, result.again_at) == ("done", at.timestamp())
    assert result.sentence == "1 row of what a says landed for said in 1 file. The server asks to wait until 12:00 (429)."


def test_the_server_is_told_once_the_piece_is_safe(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """DM-01: After the entry, before it lands: a server that is told too early would lose rows, one told too late doubles none."""
    said = _said(tmp_path, SpokenSource())
    seen = []

    def look_around() -> None:
        seen.append((said.store.exists("collected/said/00000001.json"), said.store.exists("landing/said/words-00000001.csv")))

    reads(lambda look: iter([_piece(look, 1, accepted=look_around)]))
    said.collect()
    assert seen == [(True, False)]


def test_answers_are_kept_as_they_came(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """DM-01: Beside the entry that names them; what moved the watermark alone is an entry without files."""

    def raw(look: Look) -> Iterator[Piece]:
        answer = look.scratch / "page-1.json"
        answer.write_text("[]")
        yield Piece({"page": 1}, raw=(("page-1.json", answer),))

    reads(raw)
    said = _said(tmp_path, SpokenSource())
    assert (said.collect().outcome, said.collect().outcome) == ("skipped", "skipped")
    keys = [item.key for item in said.store.list("collected/said/raw")]
    assert [key.rsplit("/", 1)[1] for key in keys] == ["page-1.json", "page-1.json"]
    assert [said.store.read(key) for key in keys] == [b"[]", b"[]"]


def test_what_the_sentence_tells(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """DM-01: Repeated, changed and unreadable rows are counted, each with what becomes of it; notes come last."""

    def tells(look: Look) -> Iterator[Piece]:
        look.notes.append("there is a new column, b")
        piece = _piece(look, 1)
        yield Piece(piece.watermark, piece.files, Tally(landed=1, repeated=2, changed=1, unreadable=3))

    reads(tells)
    assert _said(tmp_path, SpokenSource()).collect().sentence == (
        "1 row of what a says landed for said in 1 file; 2 rows of the overlap had landed before; 1 row changed since, in a file of their "
        "own, for no row of it may change; 3 records cannot be read, in a file of their own. There is a new column, b."
    )


def test_the_log_of_a_long_life_is_found_by_few_questions(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """OP-10, DM-01: Hundreds of pieces: the newest is found again, each time, without a listing of all."""
    reads(lambda look: iter([_piece(look, (look.watermark or {"last": 0})["last"] + 1)]))
    said = _said(tmp_path, SpokenSource())
    for number in range(1, 131):
        assert said.collect().files == (f"words-{number:08}.csv",)
    asked: list[str] = []

    class Counting(type(said.store)):  # type: ignore[misc]
        def stat(self, key: str) -> Any:
            asked.append(key)
            return super().stat(key)

    said.collect(Counting(said.store.root))
    assert sum(key.startswith("collected/said/0") for key in asked) < 60


def test_what_cannot_begin_is_a_sentence(tmp_path: Path, reads: Callable[[Reads], None]) -> None:
    """DM-01, DE-15: No source, another source, no connection, a damaged log."""
    reads(lambda look: iter([_piece(look, 1)]))
    with pytest.raises(SourceRefused, match=r"said has no source: files land in .*/landing/said/"):
        _said(tmp_path, None).collect()
    said = _said(tmp_path, SpokenSource())
    said.collect()
    with pytest.raises(SourceRefused, match=r"from what a says until .* names what b says now.*collect --dataset said --anew"):
        _said(tmp_path, SpokenSource(word="b")).collect()
    assert _said(tmp_path, SpokenSource(word="b")).collect(anew=True).rows == 1
    with pytest.raises(SettingMissing, match="PERENNIAL_CONNECTIONS is empty"):
        _said(tmp_path, SpokenSource(word="b", connection="shop")).collect()
    said.store.write("collected/said/00000003.json", b"{")
    with pytest.raises(StoredDataDamaged, match=r"00000003.json cannot be read.*restore it from a backup"):
        said.collect()
    assert issubclass(ComeLater, Fault)
