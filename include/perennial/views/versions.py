"""All versions of a model, the refused candidates too: number, why it was trained, what the gate said, its figures, its part in the route.

>>> import tempfile
>>> from perennial.store import open_store
>>> versions_view(open_store(tempfile.mkdtemp()), "digits").total
0
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from pydantic import Field

from perennial.errors import UnknownName
from perennial.learner_words import name_of
from perennial.lineage.version_notes import Figure, VersionNote, version_note, versions_newest_first
from perennial.store import Store
from perennial.views.model import row_of
from perennial.views.models import ModelRow, Role
from perennial.views.view import View

PAGE = 30  # versions of a page
CHOICES = 300  # versions that a form offers, the newest
SHORT = 12  # signs of a digest that stand for it
FEWEST = 6  # of them that a person has to give
NUMBER = re.compile("[0-9]{1,18}")

GateSaid = Literal["passed", "refused", "unknown"]


class VersionLine(View):
    """One version, registered or refused."""

    number: int | None = Field(description="Its number in the registry; none for a candidate that the gate refused.")
    digest: str = Field(description="Content address of its folder.")
    trained: datetime | None = Field(description="When it was sealed, UTC; none if its folder is gone.")
    registered: datetime | None = Field(description="When it was registered or judged last, UTC.")
    cause: str = Field(description="Why it was trained; empty if that is not recorded.")
    reason: str = Field(description="A person's words for that.")
    gate: GateSaid = Field(description="Whether the gate let it in.")
    sentence: str = Field(description="What the gate said.")
    figures: tuple[Figure, ...] = Field(description="On the rows of its test split; empty if its evaluation is not there.")
    role: Role | None = Field(description="Its part in the route now; none if it does not run.")
    learner: str = Field(default="", description="What made it, for a person; empty if its folder is gone.")
    used: str = Field(default="", description="What its training used, as a sentence; empty where nobody noted it.")
    evaluation: str = Field(description="Path of the page of its evaluation below the reports; empty if there is none.")
    damage: str = Field(description="What of it could not be read; empty if all could.")

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"version {self.number}" if self.number is not None else f"candidate {self.digest[:SHORT]}"

    @property
    def address(self) -> str:
        """What stands for it in an address or a command."""
        return str(self.number) if self.number is not None else self.digest[:SHORT]


class Choice(View):
    """A version that a form offers."""

    address: str
    title: str


class VersionsView(View):
    """One page of a model's versions, newest first."""

    row: ModelRow
    versions: tuple[VersionLine, ...]
    total: int = Field(description="How many there are on all pages.")
    page: int = Field(description="Which page this is, from 1.")
    pages: int = Field(description="How many there are.")
    choices: tuple[Choice, ...] = Field(description="Versions to choose from, the newest first.")
    compared: tuple[str, str] | None = Field(
        description="Whom to compare unless somebody chooses: the older first, as addresses; none if there are not two."
    )


def versions_view(store: Store, name: str, page: int = 1) -> VersionsView:
    """The versions of a model.

    Args:
        store: has receipts, verdicts and evaluations. What is damaged there is said in the version's line.
        name: of the model.
        page: from 1; one beyond the last is the last.

    Raises:
        UnknownName: neither a folder nor the ledger has that name.
    """
    row = row_of(store, name)
    notes = versions_newest_first(store, name)
    pages = max(1, -(-len(notes) // PAGE))
    page, roles = min(max(page, 1), pages), _roles(row)
    return VersionsView(
        row=row,
        versions=tuple(version_line(store, row, note) for note in notes[(page - 1) * PAGE : page * PAGE]),
        total=len(notes),
        page=page,
        pages=pages,
        choices=tuple(_choice(note, roles) for note in notes[:CHOICES]),
        compared=default_pair(notes, row),
    )


def version_line(store: Store, row: ModelRow, note: VersionNote) -> VersionLine:
    """A version's line, with its part in the route. What was damaged when it was noted is looked at again."""
    if note.digest and (note.damage or note.trained is None):
        note = version_note(store, row.name, note)
    running = next((part for part in row.serving if part.digest == note.digest), None)
    number = note.number if note.number is not None or running is None else running.version  # of before there were receipts
    page = f"{row.name}/{note.digest}/evaluation.html"
    return VersionLine(
        number=number,
        digest=note.digest,
        trained=note.trained,
        registered=note.registered,
        cause=note.cause,
        reason=note.reason,
        gate="unknown" if note.passed is None else "passed" if note.passed else "refused",
        sentence=note.sentence,
        figures=note.figures,
        role=running.role if running else None,
        learner=name_of(note.learner),
        used=note.used,
        evaluation=page if note.digest and store.exists(f"reports/{page}") else "",
        damage=note.damage,
    )


def chosen(notes: list[VersionNote], name: str, which: str) -> VersionNote:
    """The version of a number, of a digest, or of the first signs of one.

    Raises:
        UnknownName: there is none, or several digests begin so.
    """
    found = [note for note in notes if NUMBER.fullmatch(which) and note.number == int(which)]
    if not found and len(which) >= FEWEST:
        found = [note for note in notes if note.digest.startswith(which.lower())]
    if len(found) != 1:
        several = f"{len(found)} versions of {name} have digests that begin with" if found else f"{name} has no version"
        raise UnknownName(
            f"{several} {which[:64]}: give a number or {FEWEST} signs of a digest; `perennial show versions {name}` lists both."
        )
    return found[0]


def default_pair(notes: list[VersionNote], row: ModelRow) -> tuple[str, str] | None:
    """The champion and what is newest beside it, the older first: a candidate that runs, else the newest version; else the last good."""
    roles = _roles(row)
    champion, candidate = (next((note for note in notes if roles.get(note.digest) == role), None) for role in ("champion", "candidate"))
    others = [note for note in notes if note is not champion and note.digest]
    if champion is None:
        return (_address(others[1]), _address(others[0])) if len(others) > 1 else None
    newest = candidate or next(iter(others), None)
    if newest is None:
        return None
    if newest is candidate or newest.when > champion.when:
        return _address(champion), _address(newest)
    before = next((note for note in others if note.number is not None and note.number == row.back_to), newest)
    return _address(before), _address(champion)


def _roles(row: ModelRow) -> dict[str, Role]:
    return {part.digest: part.role for part in row.serving}


def _address(note: VersionNote) -> str:
    return str(note.number) if note.number is not None else note.digest[:SHORT]


def _choice(note: VersionNote, roles: dict[str, Role]) -> Choice:
    kind = "refused" if note.passed is False else "candidate"
    name = f"version {note.number}" if note.number is not None else f"{kind} {note.digest[:SHORT]}"
    role = roles.get(note.digest)
    when = f", {note.when:%Y-%m-%d}" if note.trained or note.registered else ""
    return Choice(address=_address(note), title=f"{name}{when}{f' ({role})' if role else ''}")
