"""The body that each kind of webhook takes for one alert, as pure functions. No part of an incident is taken for markup by any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import JsonValue

from perennial.specs.alerts import FIELD
from perennial_airflow.notifiers.channel import ChannelFailed
from perennial_airflow.notifiers.notice import Notice, cut, shortened

HEADER_CHARACTERS = 150  # Slack refuses a message with a longer header
SUMMARY_CHARACTERS = 250  # of an issue: Jira takes 255 on one line
CARD_BYTES = 18_000  # of text: Teams refuses a message of more than 28 kB
Body = dict[str, Any]


def slack(notice: Notice) -> Body:
    """A message of Slack, and of what takes the same (Mattermost, Rocket.Chat): text, and blocks for those that show them."""
    figures = "\n".join(f"{_slack(name)}: {_slack(value)}" for name, value in notice.figures.items())
    links = " · ".join(f"<{_slack(address).replace('|', '%7C')}|{_slack(title)}>" for title, address in notice.links.items())
    sections = ["\n".join(map(_slack, notice.sentences)), figures, links, "\n".join(map(_slack, notice.ending))]
    header = {"type": "header", "text": {"type": "plain_text", "text": shortened(notice.subject, HEADER_CHARACTERS)}}
    blocks = [header, *({"type": "section", "text": {"type": "mrkdwn", "text": cut(text)}} for text in sections if text)]
    return {"text": notice.text(), "blocks": blocks}


def teams(notice: Notice) -> Body:
    """A message with an adaptive card, as a workflow of Microsoft Teams takes it.

    Text stands in rich text blocks: those of plain text blocks and facts would be read as Markdown.
    """
    figures = [f"{name}: {value}" for name, value in notice.figures.items()]
    said = _within([*notice.sentences, *notice.ending, *figures], CARD_BYTES)
    body = [_rich(notice.subject, weight="bolder", size="medium"), *map(_rich, said)]
    actions = [{"type": "Action.OpenUrl", "title": title, "url": address} for title, address in notice.links.items()]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": body,
        "actions": actions[:6],  # Teams shows no more
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def pagerduty(notice: Notice, key: str, *, is_new: bool) -> list[Body]:
    """Events of PagerDuty's Events API v2, and of what takes the same: one that triggers, and one that resolves with the same key.

    Args:
        notice: what is told.
        key: the integration's routing key.
        is_new: whether the channel was never told of it: what is over by then must be triggered before it is resolved.
    """
    same = {"routing_key": key, "dedup_key": f"perennial/{notice.model}/{notice.incident.id}"}
    payload = {
        "summary": notice.subject,
        "source": f"perennial/{notice.model}",
        "severity": notice.incident.severity,
        "timestamp": notice.incident.opened.isoformat(),
        "component": notice.model,
        "group": notice.owner,
        "class": notice.incident.kind,
        "custom_details": {**notice.figures, "text": "\n".join([*notice.sentences, *notice.ending])},
    }
    links = [{"href": address, "text": title} for title, address in notice.links.items()]
    trigger = {**same, "event_action": "trigger", "client": "Perennial", "client_url": notice.page_url, "payload": payload, "links": links}
    resolve = {**same, "event_action": "resolve"}
    return [trigger] if notice.news == "opened" else [trigger, resolve] if is_new else [resolve]


def jira(notice: Notice, project: str, issue_type: str) -> Body:
    """An issue, as version 2 of Jira's REST API makes it; its labels find it again."""
    incident = notice.incident
    figures = [f"{name}: {value}" for name, value in notice.figures.items()]
    links = [f"{title}: {address}" for title, address in notice.links.items()]
    lines = [*map(_wiki, notice.sentences), *map(_wiki, figures), *map(_wiki, links), *map(_wiki, notice.ending)]
    labels = ["perennial", notice.model, incident.kind.replace(" ", "-"), incident.severity, f"{notice.model}-{incident.id}"]
    return {
        "fields": {
            "project": {"key": project},
            "issuetype": {"name": issue_type},
            "summary": shortened(notice.subject, SUMMARY_CHARACTERS),
            "description": "\n\n".join(lines),
            "labels": labels,
        }
    }


def filled(template: JsonValue, notice: Notice) -> JsonValue:
    """A team's own template with the fields of an alert in its texts; what stands in braces of a field's text stays as it is."""
    known = fields(notice)
    if isinstance(template, str):
        return FIELD.sub(lambda named: known[named[1]], template)
    if isinstance(template, dict):
        return {name: filled(value, notice) for name, value in template.items()}
    return [filled(value, notice) for value in template] if isinstance(template, list) else template


def fields(notice: Notice) -> dict[str, str]:
    """What a template may name: `perennial.specs.TEMPLATE_FIELDS` says what each is."""
    incident = notice.incident
    return {
        "subject": notice.subject,
        "text": notice.text(),
        "sentence": cut(incident.sentence),
        "state": notice.news,
        "severity": incident.severity,
        "kind": incident.kind,
        "model": notice.model,
        "title": notice.title,
        "owner": notice.owner,
        "incident": incident.id,
        "opened": incident.opened.isoformat(),
        "resolved": incident.resolved.isoformat() if incident.resolved else "",
        "resolution": cut(incident.resolution),
        "link": notice.page_url,
        "runbook": notice.runbook,
    }


def bodies(form: str, notice: Notice, key: str, options: Mapping[str, Any], *, is_new: bool, connection: str) -> list[Body]:
    """What is posted for one alert, in order; nothing where a form has no word for an end.

    Args:
        form: name of the form.
        notice: what is told.
        key: the connection's password.
        options: the connection's further fields.
        is_new: whether the channel was never told of the incident.
        connection: its name, for sentences.

    Raises:
        ChannelFailed: there is no such form, or the connection lacks what it needs.
    """
    if form in _PLAIN:
        return [_PLAIN[form](notice)]
    if form == "pagerduty":
        if not key:
            raise ChannelFailed(f"Airflow's connection {connection} has no password: give the integration's routing key as its password.")
        return pagerduty(notice, key, is_new=is_new)
    if form == "jira":
        project = options.get("project")
        if not project:
            raise ChannelFailed(f'Airflow\'s connection {connection} names no project: give its key in the extra, as "project": "OPS".')
        if notice.news == "resolved" and not is_new:
            return []  # the issue is whoever's it is by now: people close it
        return [jira(notice, str(project), str(options.get("issue_type") or "Task"))]
    raise ChannelFailed(f"Airflow's connection {connection} has the form {form!r}: it is one of {', '.join(FORMS)}.")


_PLAIN: dict[str, Callable[[Notice], Body]] = {"slack": slack, "teams": teams}
FORMS = {
    "slack": "Slack's messages",
    "teams": "adaptive cards",
    "pagerduty": "events of PagerDuty's Events API v2",
    "jira": "issues of Jira's REST API",
    "mail": "mails",
}


def _slack(text: str) -> str:
    """Slack's own escapes: `<!channel>` in a category's name must call nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rich(text: str, **style: str) -> Body:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _within(lines: Iterable[str], most: int) -> list[str]:
    """The first of the lines, as many as have so many bytes together."""
    kept: list[str] = []
    for line in lines:
        most -= len(line.encode()) + 60  # what stands around it
        if most < 0:
            break
        kept.append(line)
    return kept


def _wiki(text: str) -> str:
    """Jira's wiki markup: what would be a macro, a link, a picture, a table or a person is shown as it stands."""
    return "".join(f"\\{c}" if c in "\\{}[]!|~@*^+" else c for c in text)
