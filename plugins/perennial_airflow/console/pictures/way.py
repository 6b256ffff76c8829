"""The way of a version from left to right: files, snapshot, training, version, traffic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from perennial.counted import counted
from perennial.lineage.served_windows import ServedWindow
from perennial.pages import shortened
from perennial.views.lineage import LineageView, SourceFile

HEAD = ("from", "to")
SHOWN, LETTERS = 8, 26  # nodes of a column at most; letters of a node's line
WIDTH, HEIGHT, APART = 180, 40, 20  # of a node, and between two of them, pixels


@dataclass(frozen=True)
class Node:
    """A box of the picture."""

    name: str
    line: str  # below the name
    link: str = ""  # its page, below the model's


def columns(view: LineageView) -> list[list[Node]]:
    """The boxes from left to right."""
    files = [Node(one.name, _of_file(one), f"data/{quote(one.id, safe='')}?dataset={quote(one.dataset)}") for one in view.files[:SHOWN]]
    more = sum(one.files for one in view.snapshots) - len(files)
    if more > 0:
        files.append(Node(f"{more:,} more", "files", "data"))
    snapshots = [
        Node(f"snapshot {one.version}", f"{one.dataset}, {counted(one.files, 'file')}", f"data?dataset={quote(one.dataset)}")
        for one in view.snapshots
    ]
    days = view.days.get("train")
    trained = [Node(f"training {view.run_key[:8]}", f"{days[0]} to {days[1]}" if days else view.cause, "")]
    traffic = [Node(_share(window), _time(window), "ledger") for window in view.windows[-SHOWN:]]
    parts = [files, snapshots, trained if view.run_key else [], [Node(f"version {view.version}", view.digest[:12], "versions")], traffic]
    return [part for part in parts if part]


def height(view: LineageView) -> int:
    """Of the whole picture, pixels: that of its longest column."""
    return max(map(len, columns(view))) * (HEIGHT + APART)


def option(view: LineageView, base: str) -> dict[str, Any]:
    """The picture.

    Args:
        view: of a version that there is.
        base: address of the model's pages.
    """
    parts = columns(view)
    nodes = [
        {
            "name": f"{column}/{place}",
            "value": [column, (len(part) - 1) / 2 - place],
            "link": f"{base}/{node.link}" if node.link else base,
            "label": {"formatter": f"{shortened(node.name, LETTERS)}\n{shortened(node.line, LETTERS)}"},
        }
        for column, part in enumerate(parts)
        for place, node in enumerate(part)
    ]
    links = [
        {"source": f"{column}/{left}", "target": f"{column + 1}/{right}"}
        for column, (before, after) in enumerate(itertools.pairwise(parts))
        for left in range(len(before))
        for right in range(len(after))
    ]
    tallest = max(len(part) for part in parts)
    return {
        "grid": {"left": 0, "right": 0, "top": 0, "bottom": 0},
        "xAxis": {"show": False, "min": -0.5, "max": len(parts) - 0.5},
        "yAxis": {"show": False, "min": -tallest / 2, "max": tallest / 2},
        "series": [
            {
                "type": "graph",
                "coordinateSystem": "cartesian2d",
                "layout": "none",
                "data": nodes,
                "links": links,
                "symbol": "rect",
                "symbolSize": [WIDTH, HEIGHT],
                "itemStyle": {"color": "var(--card)", "borderColor": "var(--quiet)", "borderWidth": 1},
                "lineStyle": {"color": "var(--quiet)", "width": 1, "curveness": 0.05},
                "label": {"show": True, "color": "var(--ink)", "fontSize": 12, "lineHeight": 15},
            }
        ],
    }


def rows(view: LineageView) -> list[list[object]]:
    """The same as cells of a table."""
    parts = columns(view)
    return [
        [f"{left.name}, {left.line}", ", ".join(right.name for right in after)]
        for before, after in itertools.pairwise(parts)
        for left in before
    ]


def _of_file(one: SourceFile) -> str:
    return f"{counted(one.rows, 'row')}{f', {one.days[0]}' if one.days else ''}"


def _share(window: ServedWindow) -> str:
    return "in the shadow" if window.shadow else f"{100 * window.share:g} % of traffic"


def _time(window: ServedWindow) -> str:
    return f"{window.begin:%m-%d %H:%M} to {f'{window.end:%m-%d %H:%M}' if window.end else 'now'}"
