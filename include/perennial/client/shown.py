"""What the console's pages and `perennial show` say, as text, as a typed object and as frames.

>>> import perennial, tempfile
>>> connected = perennial.connect(store=tempfile.mkdtemp())
>>> perennial.show("data", "digits")
digits: 0 files.
Nothing has landed yet: put files into the store's landing/digits/.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from perennial.client.connection import connection
from perennial.errors import UnknownName
from perennial.results import on_terminal
from perennial.views.view import View

if TYPE_CHECKING:
    import pandas


class Shown:
    """A view.

    Attributes:
        view: the typed object that the page shows.
        lines: what `perennial show` prints.
    """

    def __init__(self, view: View, lines: list[str]) -> None:
        self.view, self.lines = view, lines

    @property
    def frames(self) -> dict[str, pandas.DataFrame]:
        """Each list of the view as a frame, by its name there, such as `versions` or `windows`."""
        import pandas

        lists = {name: getattr(self.view, name) for name in type(self.view).model_fields}
        return {
            name: pandas.DataFrame([part.model_dump() for part in parts], columns=list(type(parts[0]).model_fields))
            for name, parts in lists.items()
            if isinstance(parts, tuple) and parts and all(isinstance(part, BaseModel) for part in parts)
        }

    @property
    def frame(self) -> pandas.DataFrame:
        """The view's first list as a frame: models, versions, batches, incidents, ...; empty if it has none."""
        import pandas

        return next(iter(self.frames.values()), pandas.DataFrame())

    def __repr__(self) -> str:
        return on_terminal("\n".join(self.lines))

    def _repr_html_(self) -> str:
        return f'<pre style="white-space: pre-wrap">{html.escape(repr(self))}</pre>'


def show(what: str, name: str | None = None, **options: Any) -> Shown:
    """What a page of the console says.

    Args:
        what: `models model versions compare release drift data lineage incidents reports`, as of `perennial show`.
        name: of the model or dataset; not needed where there is one model.
        options: those of the command, such as `a="1", b="2"` of `compare`.

    Raises:
        UnknownName: there is no such view, model, dataset or option.
    """
    from perennial.commands.show import MAKES, shown

    if what not in MAKES:
        raise UnknownName(f"There is no view {what!r}: there are {', '.join(MAKES)}.")
    return Shown(*shown(connection().store, what, name, **options))


def models() -> Shown:
    """All models: who serves each of them, since when and why, and what is wrong."""
    return show("models")
