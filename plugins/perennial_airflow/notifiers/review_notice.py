"""The text of a review. It may contain text from callers' requests, so none of it is trusted."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from perennial.views.review import ReviewView, sections


@dataclass(frozen=True)
class ReviewNotice:
    """A review, as channels send it."""

    view: ReviewView
    url: str = ""  # of its page, as a browser reaches it

    @property
    def subject(self) -> str:
        """One line."""
        return f"[review] {self.view.row.title}: {self.view.since:%Y-%m-%d} to {self.view.until:%Y-%m-%d}"

    @property
    def sentences(self) -> list[str]:
        """The review in a few words, then each part with its head."""
        parts = (f"{head}:\n" + "\n".join(f"• {one}" for one in told) for head, told in sections(self.view).items())
        return [self.view.sentence, *parts]

    @property
    def figures(self) -> Mapping[str, str]:
        """None: they stand in the sentences."""
        return {}

    @property
    def links(self) -> Mapping[str, str]:
        """Its page."""
        return {"Review": self.url} if self.url else {}

    @property
    def ending(self) -> list[str]:
        """Whose the model is."""
        return [f"{self.view.row.title} belongs to {self.view.row.owner}."] if self.view.row.owner else []

    def text(self) -> str:
        """For a reader without markup."""
        return "\n\n".join([self.subject, *self.sentences, *self.links.values(), *self.ending])

    def page(self) -> str:
        """For a mail."""
        told = "".join(
            f"<h3>{html.escape(head)}</h3><ul>{''.join(f'<li>{html.escape(one)}</li>' for one in lines)}</ul>"
            for head, lines in sections(self.view).items()
        )
        link = f'<p><a href="{html.escape(self.url, quote=True)}">The review in the console</a></p>' if self.url else ""
        ending = "".join(f"<p>{html.escape(line)}</p>" for line in self.ending)
        return f"<h2>{html.escape(self.subject)}</h2><p>{html.escape(self.view.sentence)}</p>{told}{link}{ending}"
