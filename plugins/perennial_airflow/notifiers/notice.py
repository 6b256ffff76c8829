"""The text of an alert. It may contain text from callers' requests, so none of it is trusted."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass

from pydantic import JsonValue

from perennial.incidents.incidents import Incident, News
from perennial.incidents.kinds import QUESTION, Kind

RUNBOOK = "docs/runbook.md"
SUBJECT_CHARACTERS = 140
FIGURE_CHARACTERS = 300
FIGURES_SHOWN = 20
SECTION_CHARACTERS = 2900  # Slack refuses a message in which a block is longer


@dataclass(frozen=True)
class Notice:
    """An incident that opened, or that is over."""

    model: str  # its name
    title: str  # the model's
    incident: Incident
    news: News
    runbook_url: str = ""  # as a browser reaches it
    rate: str = ""  # the model's alarm rate, as a sentence
    owner: str = ""  # person or team that answers for the model
    page_url: str = ""  # of the incident, in the console

    @property
    def subject(self) -> str:
        """One line."""
        mark = self.incident.severity if self.news == "opened" else "over"
        return shortened(f"[{mark}] {self.title}: {self.incident.kind}: {self.incident.sentence}", SUBJECT_CHARACTERS)

    @property
    def sentences(self) -> list[str]:
        """What happened: when it opened, and when it ended if it did."""
        incident = self.incident
        said = [f"Since {incident.opened:%Y-%m-%d %H:%M} UTC ({incident.severity}): {incident.sentence}"]
        if incident.resolved:
            said.append(f"Over since {incident.resolved:%Y-%m-%d %H:%M} UTC: {incident.resolution}")
        return [cut(sentence) for sentence in said]  # a channel that refuses one long alert would be told none after it

    @property
    def figures(self) -> dict[str, str]:
        """The evidence, by name."""
        shown = list(self.incident.figures.items())[:FIGURES_SHOWN]
        return {shortened(name, FIGURE_CHARACTERS): shortened(_figure(value), FIGURE_CHARACTERS) for name, value in shown}

    @property
    def links(self) -> dict[str, str]:
        """Pages that show more, by title; the incident's own first, the runbook's section last, where they can be reached."""
        own = {"Incident": self.page_url} if self.page_url else {}
        return {**own, **self.incident.links, **({"Runbook": self.runbook} if self.runbook_url else {})}

    @property
    def runbook(self) -> str:
        """The section for this kind of incident."""
        return runbook(self.incident.kind, self.runbook_url)

    @property
    def what_to_do(self) -> str:
        """The next step."""
        if self.incident.key.startswith(QUESTION):
            return "Answer it at the link, logged in to Airflow; all that wait are under Browse → Required Actions."
        looked_up = "" if self.runbook_url else f"What to do: {self.runbook}. "
        number = self.incident.id.split("-", 1)[0].lstrip("0")
        answer = f'`perennial incident --model {self.model} --id {number} --verdict real`, or "false alarm", or known'
        return f"{looked_up}Say what it was, in Airflow under Browse → Required Actions or by {answer}."

    @property
    def ending(self) -> list[str]:
        """What every alert ends with: whose it is, the next step, and how often this model calls in vain."""
        owner = [f"{self.title} belongs to {self.owner}."] if self.owner else []
        return [*owner, self.what_to_do, *([f"So far: {self.rate}"] if self.rate else [])]

    def text(self) -> str:
        """For a reader without markup."""
        lines = [self.subject, *self.sentences, *(f"{name}: {value}" for name, value in self.figures.items())]
        return "\n".join([*lines, *(f"{title}: {address}" for title, address in self.links.items()), *self.ending])

    def page(self) -> str:
        """For a mail."""
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.sentences)
        rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in self.figures.items())
        links = "".join(
            f'<li><a href="{html.escape(address, quote=True)}">{html.escape(title)}</a></li>' for title, address in self.links.items()
        )
        ending = "".join(f"<p>{html.escape(line)}</p>" for line in self.ending)
        heading = f"<h2>{html.escape(f'{self.title}: {self.incident.kind}')}</h2>"
        return f"{heading}{said}<table cellpadding='4'>{rows}</table><ul>{links}</ul>{ending}"


def runbook(kind: Kind, url: str = "") -> str:
    """Address of the runbook's section for a kind of incident, or the file's name and the section."""
    return f"{url or RUNBOOK}#{kind.replace(' ', '-')}"


def _figure(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shortened(text: str, most: int) -> str:
    """A text on one line, whatever it was: a mail's subject may have no other. Most megabytes are over after a look at their beginning."""
    for seen in (text[: 10 * most], text):
        line = " ".join("".join(c if c.isprintable() else " " for c in seen).split())
        if len(line) > most:
            return line[: most - 1].rstrip() + "…"
    return line


def cut(text: str) -> str:
    """A text that no channel refuses for its length."""
    return text if len(text) <= SECTION_CHARACTERS else text[:SECTION_CHARACTERS] + " …"
