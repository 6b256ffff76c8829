"""Records that HTTP services give as JSON, page by page, and files that they give whole.

A *round* reads all pages of one question: what is new since the largest value of the cursor, or everything. Only at its end the cursor
moves, since nobody knows in which order a service gives its records; until then the watermark has the next page, so that a stage that is
killed goes on there. What was read in a round is remembered until its end: records that move to a later page meanwhile land once.

A watermark has: `cursor` (value that is sent), `largest` (in the round so far), `next` (page), `tag` (of the last answer, for a conditional
request), `fields` (that records have) and `digest` (of the file that landed last).
"""

from __future__ import annotations

import copy
import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from perennial.counted import counted
from perennial.errors import PerennialError, SourceRefused, SourceUnreachable
from perennial.sources.answers import (
    CutShort,
    Request,
    Unclear,
    at,
    charset_of,
    decoded,
    file_name,
    first,
    following,
    form_of,
    lines_in,
    ordered,
    records_in,
)
from perennial.sources.interface import Look, Piece, Tally
from perennial.sources.overlap import Overlap
from perennial.sources.web import Answer, Client, Limits, Rejected, shown
from perennial.specs import HttpSource

NOT_MODIFIED = 304
_REREADS = 2  # of an answer that ends in the middle


def pieces(look: Look) -> Iterator[Piece]:
    """What is new, in pieces of some pages.

    Raises:
        SettingMissing: the connection is none to an HTTP service.
        SourceRefused: the service refuses, or gives what the source's spec does not say.
        SourceUnreachable: it does not answer.
        ComeLater: it asks to be left alone.
    """
    yield from Reading(look).pieces()


@dataclass
class _Gathered:
    """What was read since the last piece."""

    new: list[str] = field(default_factory=list)  # lines
    changed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    whole: tuple[str, Path] | None = None  # a file that lands as it is
    pages: int = 0
    repeated: int = 0
    changes: int = 0
    answers: Path | None = None  # as they came


class Reading:
    """The reading of one service during one look."""

    def __init__(self, look: Look) -> None:
        self.look, self.source = look, cast(HttpSource, look.dataset.source)
        limits = Limits(self.source.timeout, self.source.patience, self.source.answer_bytes)
        self.client = Client(look.dataset.name, self.source.connection, look.connection, self.source.url, self.source.headers, limits)
        self.state: dict[str, Any] = copy.deepcopy(dict(look.watermark or {}))
        self.overlap = Overlap.read(look.memory) if look.memory else Overlap()
        self.keys = tuple(look.field(name) for name in look.dataset.key)
        self.gathered = _Gathered()
        self.pages = 0  # of this look
        self.numbers = 0  # of files in the scratch folder
        self.met: set[str] = set()  # requests of this look
        self.before = ""  # digest of the answer before
        self.without_cursor = 0

    def pieces(self) -> Iterator[Piece]:
        """One for each `piece_pages`, and one for what was read before something went wrong."""
        try:
            request: Request | None = self._begin()
            stopped: PerennialError | None = None
            while request is not None:
                try:
                    request = self._read(request)
                except Rejected as rejected:
                    if not self._may_be_stale():
                        stopped = rejected
                        break
                    self.look.notes.append(
                        "the page at which the last look ended is not there any more: all was read again from its cursor"
                    )
                    request = self._anew()
                except PerennialError as error:
                    stopped = error
                    break
                if request is not None and self._is_full():
                    yield self._piece(request)
            if stopped is None:
                self._end()
                yield from self._last_piece()
            else:
                if self.gathered.pages:
                    yield self._piece(request)
                raise stopped
        finally:
            self.client.close()

    # -- the round -----------------------------------------------------------------------------------------------

    def _begin(self) -> Request:
        if page := self.state.get("next"):
            return Request(page["address"], page["parameters"])
        return self._anew()

    def _anew(self) -> Request:
        """The first request of a round."""
        given: dict[str, Any] = dict(self.source.parameters)
        value = self.state.get("cursor", self.source.since or None) if self.source.cursor else None
        if value is not None:
            given[self.source.cursor_parameter] = value
        self.state.pop("next", None)
        self.met.clear()
        return first(self.source.pagination, Request(self.client.address, given))

    def _may_be_stale(self) -> bool:
        """Whether it is the page of an earlier look that is asked for, and not the first of its round."""
        return self.pages == 0 and "next" in self.state

    def _end(self) -> None:
        """All pages were read: the cursor moves."""
        self.state.pop("next", None)
        largest = self.state.pop("largest", None)
        if largest is not None:
            self.state["cursor"] = largest
            self.overlap.forget(ordered(largest))
        if self.without_cursor:
            has = "has" if self.without_cursor == 1 else "have"
            self.look.notes.append(
                f"{counted(self.without_cursor, 'record')} {has} no {self.source.cursor}: the service may give them again"
            )

    def _is_full(self) -> bool:
        return self.gathered.pages >= self.source.piece_pages or len(self.gathered.new) >= self.source.file_rows

    # -- a page --------------------------------------------------------------------------------------------------

    def _read(self, request: Request) -> Request | None:
        """Read a page; returns the request for the next one."""
        self._refuse_endless(request)
        for reread in range(_REREADS + 1):
            answer = self._ask(request)
            if answer.status in (204, NOT_MODIFIED):
                self._count(answer, request)
                return None
            try:
                if self._form(answer) == "file":
                    self._take_file(answer, request)
                    return None
                records, document = self._records(answer)
                after = self._following(request, document, answer, len(records))
            except CutShort as error:
                if reread == _REREADS:
                    raise SourceUnreachable(f"The answer of {shown(answer.address)} {error}, {_REREADS + 1} times: run it again.") from None
            except Unclear as error:
                raise SourceRefused(
                    f"The answer of {shown(answer.address)} {error}. Nothing of it was read; the next look of {self.look.dataset.name} "
                    "goes on there."
                ) from None
            else:
                break
        self._refuse_same_again(answer, request, len(records))
        self._check_fields([record for record in records if isinstance(record, dict)], answer)
        self._take(records)
        self._count(answer, request)
        return after

    def _following(self, request: Request, document: Any, answer: Answer, records: int) -> Request | None:
        after = following(self.source.pagination, request, document, answer.headers, records)
        return after and Request(self.client.without_key(after.address), after.parameters)

    def _ask(self, request: Request) -> Answer:
        headers, tag = {}, self.state.get("tag") or {}
        if tag.get("of") == _words(request):
            headers = {name: tag[name] for name in ("If-None-Match", "If-Modified-Since") if tag.get(name)}
        return self.client.get(request.address, request.parameters, headers, self._file_for)

    def _file_for(self, headers: Mapping[str, str], address: str) -> Path | None:
        try:
            return self._path("answer") if form_of(self.source.answers, headers, address) == "file" else None
        except Unclear:
            return None  # told when it is read

    def _form(self, answer: Answer) -> str:
        return form_of(self.source.answers, answer.headers, answer.address)

    def _records(self, answer: Answer) -> tuple[list[Any], Any]:
        """The records of an answer, and its document. Raises Unclear."""
        charset = charset_of(answer.headers)
        if self._form(answer) == "jsonl":
            return lines_in(answer.body, charset), None
        document = decoded(answer.body, charset)
        return records_in(document, self.source.records), document

    def _count(self, answer: Answer, request: Request) -> None:
        """A page was read."""
        self.pages += 1
        self.gathered.pages += 1
        if answer.status == NOT_MODIFIED:
            return
        tag = {"of": _words(request), "If-None-Match": answer.headers.get("etag"), "If-Modified-Since": answer.headers.get("last-modified")}
        self.state.pop("tag", None)
        if self.pages == 1 and "next" not in self.state and (tag["If-None-Match"] or tag["If-Modified-Since"]):
            self.state["tag"] = tag  # of an answer that is all there is: what follows may change without it
        if self.source.raw_days and answer.status == 200:
            self.gathered.answers = self.gathered.answers or self._path("answers.zip")
            with zipfile.ZipFile(self.gathered.answers, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as kept:
                name = f"{self.gathered.pages:06d}-{file_name(answer.headers, answer.address)}"
                kept.write(answer.file, name) if answer.file else kept.writestr(name, answer.body)

    # -- what it has ---------------------------------------------------------------------------------------------

    def _check_fields(self, records: list[dict[str, Any]], answer: Answer) -> None:
        """Raises SourceRefused where a field that the dataset must have is in no record of a page: it was renamed, or is not given."""
        if not records:
            return
        dataset = self.look.dataset
        needed = {
            self.look.field(column.name)
            for column in dataset.columns
            if not (column.nullable or column.name == dataset.deleted or column.name in dataset.files.time_of)
        } | {name for names in dataset.files.time_of.values() for name in names}
        names = sorted({name for record in records for name in record})
        if missing := sorted(name for name in needed if not any(_has(record, name) for record in records)):
            raise SourceRefused(
                f"No record of {shown(answer.address)} has {', '.join(missing)}; they have {', '.join(names[:20])}. Nothing of that page "
                f"was read: correct the spec of {dataset.name} (`files.fields` says what a source calls a column) or the service; the next "
                "look goes on there."
            )
        known = self.state.get("fields")
        if known is not None and (new := [name for name in names if name not in known]):
            self.look.notes.append(f"records have new fields: {', '.join(new)}")
        self.state["fields"] = sorted({*(known or ()), *names})

    def _take(self, records: list[Any]) -> None:
        lines, contents, keys, cursors, unreadable = [], [], [], [], []
        fields = [self.look.field(column.name) for column in self.look.dataset.columns]
        all_of_it = self.look.dataset.files.extra == "keep"
        largest = self.state.get("largest", self.state.get("cursor"))
        for record in records:
            try:
                if not isinstance(record, dict):
                    raise ValueError  # it is put aside as those are that cannot be written
                line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                line.encode(self.look.dataset.files.encoding)
            except ValueError:  # no object, no number, half of a surrogate pair, a sign that the dataset's encoding has not
                unreadable.append(json.dumps(record))
                continue
            lines.append(line)
            keys.append([json.dumps(at(record, key)) for key in self.keys])
            value = at(record, self.source.cursor) if self.source.cursor else None
            contents.append(line if all_of_it else json.dumps([value, *(at(record, name) for name in fields)]))
            cursors.append(value)
            if value is not None and self._is_larger(value, largest):
                largest = value
        self.gathered.unreadable += unreadable
        self.without_cursor += sum(value is None for value in cursors) if self.source.cursor else 0
        if largest is not None:
            self.state["largest"] = largest
        border = None if largest is None else ordered(largest)
        table = _table(keys, contents, fields, self.keys)
        if self.keys:
            self.overlap.meet_again()
        sifted = self.overlap.sift(table, self.keys)
        self.overlap.keep(sifted, [border if value is None else ordered(value) for value in cursors], since=None)
        apart = self.look.dataset.rows == "final"
        for line, fresh, changed in zip(lines, sifted.fresh, sifted.changed, strict=True):
            if fresh:
                (self.gathered.changed if changed and apart else self.gathered.new).append(line)
        self.gathered.repeated += sifted.repeated
        self.gathered.changes += sum(sifted.changed)

    def _is_larger(self, value: Any, largest: Any) -> bool:
        try:
            mine = ordered(value)
            return largest is None or bool(mine > ordered(largest))
        except (Unclear, TypeError):
            other = "" if largest is None else f" and {largest!r} in another"
            raise SourceRefused(
                f"The cursor {self.source.cursor} of {self.look.dataset.name} is {value!r} in a record{other}: nobody can tell which is "
                "larger. Name a field that is a number, a time or a text in all records."
            ) from None

    def _take_file(self, answer: Answer, request: Request) -> None:
        if self.source.pagination or self.source.cursor:
            raise SourceRefused(
                f"{shown(answer.address)} gives a file of the type {answer.headers.get('content-type')}, which has no pages and no cursor: "
                "leave them out of the source, or ask for JSON."
            )
        assert answer.file is not None
        with open(answer.file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != self.state.get("digest"):
            self.gathered.whole = (file_name(answer.headers, answer.address), answer.file)
            self.state["digest"] = digest
        self._count(answer, request)

    # -- without an end ------------------------------------------------------------------------------------------

    def _refuse_endless(self, request: Request) -> None:
        words = _words(request)
        if words in self.met:
            raise SourceRefused(
                f"{shown(request.address)} leads to the same next page again after {counted(self.pages, 'page')}: reading it would never "
                "end. Correct pagination of the source, or the service."
            )
        if self.pages >= self.source.most_pages:
            raise SourceRefused(
                f"{shown(request.address)} has more than {counted(self.source.most_pages, 'page')}, which most_pages of the source allows "
                "for one look. What was read is safe, and the next look goes on there."
            )
        self.met.add(words)

    def _refuse_same_again(self, answer: Answer, request: Request, records: int) -> None:
        digest = hashlib.sha256(answer.body).hexdigest()
        same, self.before = digest == self.before, digest
        pagination = self.source.pagination
        if same and records and pagination and pagination.by in ("page", "offset"):
            name = pagination.parameter or pagination.by
            raise SourceRefused(
                f"{shown(answer.address)} gives the same page for {name}={request.parameters[name]} as for the one before: it seems not to "
                f"know the parameter {name}. Correct pagination of the source."
            )

    # -- pieces --------------------------------------------------------------------------------------------------

    def _last_piece(self) -> Iterator[Piece]:
        piece = self._piece(None)
        if piece.files or dict(piece.watermark) != dict(self.look.watermark or {}):
            yield piece

    def _piece(self, after: Request | None) -> Piece:
        """What was gathered; reading goes on at `after`."""
        if after is not None:
            self.state["next"] = {"address": after.address, "parameters": dict(after.parameters)}
        gathered, self.gathered = self.gathered, _Gathered()
        name, files = self.look.dataset.name, list[tuple[str, Path]]()
        for kind, lines in (("", gathered.new), ("-changed", gathered.changed), ("-unreadable", gathered.unreadable)):
            for begin in range(0, len(lines), self.source.file_rows):
                path = self._path("rows.jsonl")
                text = "\n".join(lines[begin : begin + self.source.file_rows]) + "\n"
                path.write_text(text, self.look.dataset.files.encoding, newline="\n")
                files.append((f"{name}{kind}{f'-part{begin // self.source.file_rows + 1}' if begin else ''}.jsonl", path))
        if gathered.whole:
            files.append(gathered.whole)
        memory = None
        if len(self.overlap):
            memory = self._path("memory.parquet")
            self.overlap.write(memory)
        return Piece(
            watermark=dict(self.state),
            files=tuple(files),
            tally=Tally(
                landed=len(gathered.new) + len(gathered.changed),
                repeated=gathered.repeated,
                changed=gathered.changes,
                unreadable=len(gathered.unreadable),
            ),
            raw=(("answers.zip", gathered.answers),) if gathered.answers and files else (),
            memory=memory,
        )

    def _path(self, name: str) -> Path:
        self.numbers += 1
        return self.look.scratch / f"{self.numbers}-{name}"


def _table(keys: list[list[str]], contents: list[str], fields: list[str], names: tuple[str, ...]) -> pa.Table:
    """Records as what tells them apart: their keys, and all that the dataset reads of them."""
    columns = {name: pa.array([key[place] for key in keys], pa.string()) for place, name in enumerate(names)}
    return pa.table({**columns, f"content of {', '.join(fields)}": pa.array(contents, pa.string())})


def _has(record: Mapping[str, Any], path: str) -> bool:
    """Whether a record has a field, be it null."""
    if path in record:
        return True
    above, _, name = path.rpartition(".")
    parent = at(record, above) if above else None
    return isinstance(parent, Mapping) and name in parent


def _words(request: Request) -> str:
    return json.dumps([request.address, dict(request.parameters)], sort_keys=True)
