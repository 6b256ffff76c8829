"""Pictures on the console's pages: what the charting library (ECharts) is told, and the table behind each of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import FileResponse
from markupsafe import Markup, escape

LIBRARY = Path(sys.prefix) / "share" / "perennial" / "echarts.min.js"  # `make setup` puts it there


def library() -> Response:
    """The charting library, of which the pages need nothing but this one file; 404 where set-up did not put it."""
    if not LIBRARY.exists():
        return Response("// The charting library is not here: run `make setup` again.", 404, media_type="text/javascript")
    return FileResponse(LIBRARY, media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})


def chart(
    name: str,
    label: str,
    option: Mapping[str, Any],
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    tall: bool = False,
    height: int = 0,
    cells: Mapping[str, Any] | None = None,
) -> Markup:
    """A picture, with the same as a table for who cannot see it, or wants the figures.

    Args:
        name: its id on the page: when the page asks again, the picture that is there is changed and not drawn anew.
        label: what it shows, in one sentence.
        option: as ECharts takes it (https://echarts.apache.org/en/option.html), of JSON's types alone. A text `var(--name)` is a colour of
            the page's style; a datum may have a `link`, which a click follows.
        head: heads of the table's columns.
        rows: cells of the table; text is escaped, Markup is not.
        tall: whether it needs twice the height.
        height: of the picture, pixels, where its content gives it; 0 for the usual one.
        cells: of a heat map: what its columns and rows are (`x` and `y`, in order), where a cell leads (`path`, to which the column's and
            the row's name are added) and what its value is (`unit`). Arrow keys go from cell to cell, Enter follows.
    """
    heads = Markup("").join(Markup("<th scope='col'>{}</th>").format(text) for text in head)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row)) for row in rows
    )
    more = Markup(" data-height='{}'").format(height) if height else Markup("")
    more += Markup(" data-cells='{}' tabindex='0'").format(json.dumps(cells)) if cells else Markup("")
    return Markup(
        "<figure class='chart'><figcaption>{label}</figcaption><div class='plot{tall}' id='chart-{name}' data-chart='{option}'{more}></div>"
        "<details><summary>The same as a table</summary><div class='scroll'><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
        "</table></div></details></figure>"
    ).format(
        label=label,
        tall=" tall" if tall else "",
        name=name,
        option=escape(json.dumps(option, allow_nan=False)),
        more=more,
        heads=heads,
        body=body,
    )
