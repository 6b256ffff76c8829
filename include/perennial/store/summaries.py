"""What a list needs of many stored documents, kept in one note below `views/`, so that the list does not read them all. Light.

A note says of each document what it sums up, and of which state of the document (its ETag). What the note lacks, or has of an older
state, is read from the document itself; so a note that is old, garbled or deleted costs time and changes no answer.

>>> import tempfile
>>> from pydantic import BaseModel
>>> from perennial.store import open_store
>>> class Length(BaseModel):
...     letters: int
>>> store = open_store(tempfile.mkdtemp())
>>> store.write("words/a", b"alpha")
>>> lengths = Summaries(store, "views/words.json", Length, lambda key, data: Length(letters=len(data)))
>>> lengths.keep(["words/a"])  # whoever writes documents does this
>>> lengths.of(["words/a", "words/none"])
{'words/a': Length(letters=5)}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from perennial.errors import StoredDataDamaged
from perennial.store.interface import Store
from perennial.store.unchanged import write_if_other

V = TypeVar("V", bound=BaseModel)
FORM = 1  # of a note whose summaries say what they always said; one of another form is made again


class Summaries(Generic[V]):
    """The summaries of some documents.

    Args:
        store: has the documents and the note.
        place: store key of the note.
        kind: what one document is summed up as.
        sum_up: makes a summary of a document's key and bytes; it raises StoredDataDamaged about a damaged one.
        fixed: whether the documents are written once and never again: a noted one is then not looked at, also if it is gone.
        form: of the summaries: it is one more where they say more than before, so that a note from before is made again.
    """

    def __init__(
        self, store: Store, place: str, kind: type[V], sum_up: Callable[[str, bytes], V], *, fixed: bool = False, form: int = FORM
    ) -> None:
        self._store, self._place, self._kind, self._sum_up, self._fixed, self._form = store, place, kind, sum_up, fixed, form
        self._known: dict[str, tuple[str, V]] = {}  # by key: ETag, summary
        self._note = ""  # ETag of the note that was read last

    def of(self, keys: Iterable[str], damage: list[str] | None = None) -> dict[str, V]:
        """The summary of each document that is there, in the order of the keys. What an earlier call read is remembered.

        Args:
            keys: of the documents.
            damage: gets a sentence for each document that is damaged, which is then left out.

        Raises:
            StoredDataDamaged: a document is damaged, and nobody collects the sentences.
        """
        self._read_note()
        summaries: dict[str, V] = {}
        for key in keys:
            try:
                summary = self._one(key)
            except StoredDataDamaged as error:
                if damage is None:
                    raise
                damage.append(str(error))
                continue
            if summary is not None:
                summaries[key] = summary
        return summaries

    def noted(self) -> dict[str, V]:
        """What the note says, without a look at the documents: one read. One written since has an older summary, or none."""
        self._read_note()
        return {key: summary for key, (_, summary) in self._known.items()}

    def keep(self, keys: Iterable[str], written: Collection[str] | None = None) -> None:
        """Write the note of these documents, unless it says so already.

        Of two writers at a time one note stays; what it lacks is read from the documents. A damaged document is not noted: whoever asks
        for it is told.

        Args:
            keys: of the documents.
            written: those that may have been written since they were noted; any, if absent. Of the others those are looked at that are
                not noted.
        """
        self._read_note()
        keys = list(keys)
        self.of((key for key in keys if written is None or key in written or key not in self._known), damage=[])
        kept = {key: [self._known[key][0], self._known[key][1].model_dump(mode="json")] for key in keys if key in self._known}
        write_if_other(self._store, self._place, json.dumps({"form": self._form, "of": kept}, separators=(",", ":")).encode())

    def _one(self, key: str) -> V | None:
        known = self._known.get(key)
        if known and self._fixed:
            return known[1]
        found = self._store.stat(key)
        if found is None:
            return None
        if known is None or known[0] != found.etag:
            try:
                known = found.etag, self._sum_up(found.key, self._store.read(found.key))
            except KeyError:  # deleted since
                return None
            self._known[found.key] = known
        return known[1]

    def _read_note(self) -> None:
        found = self._store.stat(self._place)
        if found is None or found.etag == self._note:
            return
        self._note = found.etag
        try:
            note = json.loads(self._store.read(self._place))
            kept = {key: (str(etag), self._kind.model_validate(summary)) for key, (etag, summary) in note["of"].items()}
            usable = note["form"] == self._form
        except (KeyError, TypeError, ValueError, ValidationError, AttributeError):
            return  # made anew by whoever writes next
        self._known |= kept if usable else {}
