"""Everything that is wrong with what a person asked, told at once: not one thing a try.

>>> wrongs = Wrongs()
>>> for name in ("orders", "9lives", "class"):
...     with wrongs:
...         if not name.isidentifier() or name == "class":
...             raise UnknownName(f"{name} is no name.")
>>> wrongs.sentences
['9lives is no name.', 'class is no name.']
"""

from __future__ import annotations

from types import TracebackType

from perennial.errors import UnknownName

MOST = 10  # are told


class Wrongs:
    """Collects what is wrong: each `with` that ends in UnknownName adds its sentence, and the next one begins."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def __enter__(self) -> Wrongs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, UnknownName):
            self.sentences += [sentence for sentence in str(error).splitlines() if sentence not in self.sentences]
        return isinstance(error, UnknownName)

    def refuse(self) -> None:
        """Raises UnknownName, with a line for each thing that is wrong, if anything is; the first ten of many."""
        more = len(self.sentences) - MOST
        if self.sentences:
            raise UnknownName("\n".join([*self.sentences[:MOST], *([f"And {more} more."] if more > 0 else [])]))
