"""How the console's pages write figures, times and sentences, and the bar that shows who has which share of the traffic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from urllib.parse import quote

from markupsafe import Markup

from perennial import pages
from perennial.views.models import Served
from perennial.views.run import OF_MODELS

WIDTH = 200  # of the bar, in its own units


def moment(when: datetime) -> Markup:
    """A time; a script of the page writes it in the zone of whoever looks, with UTC in its title."""
    utc = when.astimezone(timezone.utc)
    return Markup("<time datetime='{}' title='{} UTC'>{} UTC</time>").format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M:%S}", f"{utc:%Y-%m-%d %H:%M}"
    )


def day(when: datetime) -> str:
    """The day of a time, UTC."""
    return f"{when.astimezone(timezone.utc):%Y-%m-%d}"


def percent(share: float) -> str:
    """A share in percent: `12.5 %`."""
    return f"{100 * share:g}\u00a0%"


def window(name: str) -> str:
    """The name of a window of live traffic for people: from when to when."""
    return name.replace("_", " to ")


def window_link(path: str, window: str, column: str = "") -> str:
    """The address of a window's page, or of what was found about one of its columns.

    Args:
        path: below which the pages of the windows lie.
        window: its name.
        column: if one is meant.
    """
    about = f"?column={quote(column, safe='')}" if column else ""
    return f"{path}{quote(window, safe='')}{about}"


def code(sentence: str) -> Markup:
    """A sentence, what stands between backticks as code."""
    return Markup(pages.code(sentence))  # noqa: S704 - it escapes


def dags(sentence: str, model: str) -> Markup:
    """A sentence likewise; a DAG of the model that it names leads to Airflow's page of that DAG."""
    named = re.compile(rf"\b{re.escape(model)}_(?:{'|'.join(OF_MODELS)})\b")
    return Markup(named.sub(lambda dag: f"<a href='/dags/{quote(dag[0])}'>{dag[0]}</a>", code(sentence)))  # noqa: S704 - of an escaped text


def bars(serving: Sequence[Served]) -> Markup:
    """A bar of the versions' shares of the traffic, with the same in words for who cannot see it."""
    label = ", ".join(f"version {part.version} {percent(part.share)} ({part.role})" for part in serving)
    part_of = Markup("<rect class='part {}' x='{}' y='0' width='{}' height='10'/>")
    at, parts = 0.0, Markup("")
    for part in serving:
        width = round(WIDTH * part.share, 2)
        parts += part_of.format(part.role.replace(" ", "-"), round(at, 2), width) if width else ""
        at += width
    whole = Markup("<svg class='share' role='img' aria-label='{}' viewBox='0 0 {} 10' preserveAspectRatio='none'>{}</svg>")
    return whole.format(label, WIDTH, parts)
