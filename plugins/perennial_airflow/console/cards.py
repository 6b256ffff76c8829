"""Model cards, written by people in Markdown, as HTML that cannot act: no markup of their own, no pictures, no links but to the web."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

LOWER = 2  # a card's own title stands below the page's headings


def as_html(card: str) -> Markup:
    """A card as a part of a page.

    Args:
        card: Markdown. Markup in it is shown as it stands; a link leads to http, https or mailto, or is no link.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(card)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + LOWER)}"
        for part in token.children or ():
            _make_harmless(part)
        if token.type == "th_open":
            token.attrSet("scope", "col")
        if token.type in ("th_open", "td_open"):
            token.attrs.pop("style", None)  # of the column's alignment, which the page's policy forbids
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - it escapes


def _make_harmless(part: Token) -> None:
    if part.type == "link_open":
        if not str(part.attrs.get("href", "")).lower().startswith(("http://", "https://", "mailto:")):
            part.attrs.pop("href", None)
        part.attrSet("rel", "noopener noreferrer")
