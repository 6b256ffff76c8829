"""Channels of owners: each form of webhook at a real server of this machine, and which channels are told of what."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from perennial.incidents.incidents import Incident, Incidents
from perennial.incidents.silences import Silences
from perennial.settings import Settings
from perennial.specs import TEMPLATE_FIELDS, AlertSpec, Column, DatasetSpec
from perennial.store import FolderStore
from perennial_airflow.notifiers import forms, webhook
from perennial_airflow.notifiers.channel import ChannelFailed, NoticeRefused
from perennial_airflow.notifiers.notice import Notice
from perennial_airflow.notifiers.telling import channels, tell
from perennial_airflow.notifiers.webhook import Webhook

from ..lateness import lateness
from .test_notifiers import HOSTILE, Log, MailServer, WebhookServer, _served

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
KEY = "0123456789abcdef0123456789abcdef"
PAGE = "https://airflow.test/perennial/models/lateness/incidents#lateness-0012-drift"


@pytest.fixture
def server(monkeypatch):
    """A server that keeps what is posted; nobody waits between two tries."""
    monkeypatch.setattr(webhook, "PAUSES", ())
    yield from _served(WebhookServer())


@pytest.fixture
def mail_server(monkeypatch):
    """A mail server, and Airflow's connection to it."""
    server = MailServer()
    options = "from_email=perennial%40example.org&disable_ssl=true&disable_tls=true"
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SMTP", f"smtp://127.0.0.1:{server.server_address[1]}/?{options}")
    yield from _served(server)


def _connect(monkeypatch, server, name, path="in", **fields):
    """Airflow's connection of a channel, as its variable."""
    connection = {"conn_type": "http", "host": f"http://127.0.0.1:{server.server_address[1]}/{path}", **fields}
    monkeypatch.setenv(f"AIRFLOW_CONN_PERENNIAL_{name.upper()}", json.dumps(connection))


def _notice(news="opened", **changed) -> Notice:
    fields = {
        "id": "0012-drift",
        "kind": "drift",
        "key": "distance",
        "severity": "critical",
        "sentence": "Distances have doubled.",
        "evidence": {"Report": "http://reports.test/w?a=1&b=2", "share": 0.35},
        "opened": NOW,
    }
    incident = Incident(**{**fields, **changed})
    return Notice("lateness", "Lateness", incident, news, "https://docs.test/runbook", owner="the ferry team", page_url=PAGE)


def test_teams_gets_an_adaptive_card(server, monkeypatch):
    """SY-30: The message that a workflow of Microsoft Teams takes: one card, its text in blocks that read no Markdown, a button for each
    page."""
    _connect(monkeypatch, server, "teams", extra={"form": "teams"})
    Webhook("warning", "teams").send(_notice(sentence="[Log in](http://evil.test) **now**"))
    [(path, message)] = server.posts
    assert path == "/in"
    assert message["type"] == "message"
    [attachment] = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.2")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    said = [run["text"] for block in card["body"] for run in block["inlines"]]
    assert said[0] == "[critical] Lateness: drift: [Log in](http://evil.test) **now**"
    assert "share: 0.35" in said
    assert {(action["type"], action["title"], action["url"]) for action in card["actions"]} == {
        ("Action.OpenUrl", "Incident", PAGE),
        ("Action.OpenUrl", "Report", "http://reports.test/w?a=1&b=2"),
        ("Action.OpenUrl", "Runbook", "https://docs.test/runbook#drift"),
    }


def test_a_card_is_never_too_large():
    """SY-30: Teams refuses a message of more than 28 kB, and then nobody hears of the incident."""
    long = "Größe 数据 🚢, " * 10_000
    links = {f"Page {i}": f"http://r.test/{'x' * 200}" for i in range(3)}
    message = forms.teams(
        _notice("resolved", sentence=long, resolution=long, resolved=NOW, evidence={**links, **{f"{i}{long}": long for i in range(50)}})
    )
    assert len(json.dumps(message, ensure_ascii=False).encode()) < 28_000
    said = [block["inlines"][0]["text"] for block in message["attachments"][0]["content"]["body"]]
    assert said[1].startswith("Since 2026-03-01 12:00 UTC (critical): Größe")


def test_an_event_triggers_and_resolves_under_one_key(server, monkeypatch):
    """SY-31, MN-09: Events API v2: the same key for both, so that the page that woke somebody is over by itself; the routing key is the
    connection's password and part of no address."""
    _connect(monkeypatch, server, "on_call", "v2/enqueue", password=KEY, extra={"form": "pagerduty"})
    channel = Webhook("critical", "on_call")
    channel.send(_notice())
    channel.send(_notice("resolved", resolved=NOW, resolution="Over.", told={"on_call": "opened"}))
    (path, trigger), (_, resolve) = server.posts
    assert path == "/v2/enqueue"
    assert trigger["event_action"] == "trigger"
    assert trigger["payload"]["summary"] == "[critical] Lateness: drift: Distances have doubled."
    assert trigger["payload"]["source"] == "perennial/lateness"
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["class"] == "drift"
    assert trigger["payload"]["custom_details"]["share"] == "0.35"
    assert trigger["client_url"] == PAGE
    assert {"href": PAGE, "text": "Incident"} in trigger["links"]
    assert resolve == {"routing_key": KEY, "dedup_key": "perennial/lateness/0012-drift", "event_action": "resolve"}
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert trigger["routing_key"] == KEY


def test_what_opened_and_ended_between_two_looks_is_an_event_too(server, monkeypatch):
    """SY-31: A resolve without a trigger would be dropped, and nobody would hear of it."""
    _connect(monkeypatch, server, "on_call", password=KEY, extra={"form": "pagerduty"})
    Webhook("critical", "on_call").send(_notice("resolved", resolved=NOW, resolution="Over."))
    assert [body["event_action"] for _, body in server.posts] == ["trigger", "resolve"]


def test_a_tracker_gets_one_issue(server, monkeypatch):
    """SY-31: Jira's REST API, version 2: project, type, summary, description with the way back to the incident, labels that find it; its
    end makes no second issue."""
    extra = {"form": "jira", "project": "OPS", "issue_type": "Bug"}
    _connect(monkeypatch, server, "tracker", "rest/api/2/issue", login="ada@example.org", password="token22", extra=extra)
    channel = Webhook("critical", "tracker")
    channel.send(_notice(sentence="A {code} of [~admin] broke."))
    channel.send(_notice("resolved", resolved=NOW, resolution="Over.", told={"tracker": "opened"}))
    [(path, issue)] = server.posts
    assert path == "/rest/api/2/issue"
    assert server.authorized == [f"Basic {base64.b64encode(b'ada@example.org:token22').decode()}"]
    fields = issue["fields"]
    assert (fields["project"], fields["issuetype"]) == ({"key": "OPS"}, {"name": "Bug"})
    assert fields["summary"] == "[critical] Lateness: drift: A {code} of [~admin] broke."
    assert f"Incident: {PAGE}" in fields["description"].replace("\\", "")
    assert r"\{code\} of \[\~admin\]" in fields["description"]
    assert fields["labels"] == ["perennial", "lateness", "drift", "critical", "lateness-0012-drift"]


def test_a_token_without_a_user_is_a_bearers(server, monkeypatch):
    """SY-31: As Jira Data Center has it; the type of the issue is a task unless the connection names another."""
    _connect(monkeypatch, server, "tracker", password="token22", extra={"form": "jira", "project": "OPS"})
    Webhook("critical", "tracker").send(_notice())
    assert server.authorized == ["Bearer token22"]
    assert server.posts[0][1]["fields"]["issuetype"] == {"name": "Task"}


def test_a_teams_own_template_is_filled(server, monkeypatch):
    """SY-30: Every field that a template may name, in texts at any depth; braces in what callers sent stay text."""
    _connect(monkeypatch, server, "own", extra={"form": "jira"}, login="u", password="p")
    template = {"all": {name: f"<{{{name}}}>" for name in TEMPLATE_FIELDS}, "list": [1, None, "{state} of {model}"], "{kept}": True}
    Webhook("info", "own", template).send(_notice(sentence="{subject} is no field here"))
    [(_, body)] = server.posts
    assert body["list"] == [1, None, "opened of lateness"]
    assert body["{kept}"] is True
    assert body["all"]["sentence"] == "<{subject} is no field here>"
    assert body["all"]["link"] == f"<{PAGE}>"
    assert body["all"]["opened"] == "<2026-03-01T12:00:00+00:00>"
    assert body["all"]["resolved"] == "<>"
    assert set(forms.fields(_notice())) == set(TEMPLATE_FIELDS)
    assert server.authorized == [f"Basic {base64.b64encode(b'u:p').decode()}"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"text": ["{subject}", "{sumary}"]}, "the template names sumary, which an alert does not have: subject, text, "),
        ({"text": "hello"}, "the template names no field of the alert"),
        ("{subject}", "the template is no JSON object"),
    ],
)
def test_a_wrong_template_is_told_when_the_spec_is_read(template, words):
    """SY-30: Not at night, when the first incident opens."""
    with pytest.raises(ValueError, match=words):
        AlertSpec(channel="own", template=template)


@pytest.mark.parametrize("name", ["smtp", "On call", "", "../x"])
def test_a_channel_has_a_name_of_a_connection(name):
    """SY-30: The mail server's connection is no channel."""
    with pytest.raises(ValueError, match="is no channel: give `mail`, `webhook`, or NAME of a connection"):
        AlertSpec(channel=name)


def test_a_channel_is_named_once():
    """MN-09: Twice with two severities would say nothing."""
    with pytest.raises(ValueError, match="alerts name the channel mail twice"):
        lateness(alerts=(AlertSpec(channel="mail"), AlertSpec(channel="mail", severity="critical")))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra": {"form": "pager"}}, "has the form 'pager': it is one of slack, teams, pagerduty, jira, mail"),
        ({"extra": {"form": "pagerduty"}}, "has no password: give the integration's routing key"),
        ({"extra": {"form": "jira"}, "password": "x"}, "names no project"),
    ],
)
def test_what_a_connection_lacks_is_told(server, monkeypatch, fields, words):
    """SY-30, SY-31: In one sentence with the connection's name; nothing is posted."""
    _connect(monkeypatch, server, "own", **fields)
    with pytest.raises(ChannelFailed, match=f"connection perennial_own {words}"):
        Webhook("info", "own").send(_notice())
    assert server.posts == []


def test_a_refused_event_shows_no_key(server, monkeypatch, capsys):
    """SC-04, SY-31: Not in the sentence, which is kept in the store, even if the server says it back."""
    _connect(monkeypatch, server, "on_call", password=KEY, extra={"form": "pagerduty"})
    server.answers = [(400, {}, f"routing_key {KEY} is not known")]
    with pytest.raises(NoticeRefused, match=r"routing_key … is not known.*perennial_on_call leads to takes events of PagerDuty") as refused:
        Webhook("info", "on_call").send(_notice())
    assert KEY not in "\n".join([str(refused.value), *capsys.readouterr()])


def test_the_address_of_a_workflow_may_be_a_uri(server, monkeypatch):
    """SY-30: With its signature and its form behind the question mark: the form is no part of the address."""
    host, sig = f"127.0.0.1:{server.server_address[1]}", "a+b/c="
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_TEAMS", f"http://{host}/workflows/1?sp=%2Ftriggers&sig={quote(sig)}&form=teams")
    Webhook("info", "teams").send(_notice())
    [(path, message)] = server.posts
    assert path == "/workflows/1?sp=%2Ftriggers&sig=a%2Bb%2Fc%3D"
    assert message["type"] == "message"


def test_what_callers_sent_is_no_markup_in_any_form(server, monkeypatch):
    """SC-01: No card reads it as Markdown, no issue as a macro or a person, and no template as a field."""
    notice = _notice(sentence=HOSTILE + " [x](http://evil.test) {noformat} {link}", evidence={HOSTILE: HOSTILE})
    assert "TextBlock" not in {block["type"] for block in forms.teams(notice)["attachments"][0]["content"]["body"]}
    issue = forms.jira(notice, "OPS", "Bug")["fields"]
    assert "{noformat}" not in issue["description"].replace("\\{noformat\\}", "")
    assert "\n" not in issue["summary"]
    assert forms.filled({"a": "{sentence}"}, notice)["a"].endswith("{link}")


# -- who is told -------------------------------------------------------------------------------------------------------


@pytest.fixture
def incidents(tmp_path):
    """A model without incidents."""
    return Incidents(FolderStore(str(tmp_path)), "lateness")


def _trips(**changed):
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    return DatasetSpec(name="trips", title="Trips", owner="ada", columns=columns, key=("id",), event_time="at", **changed)


SETTINGS = Settings(alert_mail_to="all@example.org", airflow_url="http://airflow.test")


def _look(incidents, spec, *datasets, settings=SETTINGS):
    return tell(incidents, spec, settings, channels(settings, spec, datasets), datetime.now(timezone.utc), Log())


def test_an_owner_is_told_on_their_own_channels(incidents, mail_server, server, monkeypatch):
    """MN-09, SY-30: From each channel's severity on; the platform's mail is then not told, unless it is named. The alert leads back to the
    incident in the console."""
    _connect(monkeypatch, server, "on_call", password=KEY, extra={"form": "pagerduty"})
    _connect(monkeypatch, server, "team", "team")
    spec = lateness(alerts=(AlertSpec(channel="on_call", severity="critical"), AlertSpec(channel="team")))
    incidents.open("drift", "a", "warning", "A drifted.")
    incidents.open("service", "b", "critical", "B is down.")
    for _ in range(3):
        assert _look(incidents, spec) == []
    assert mail_server.mails == []
    told = [(path, body.get("text", "").split("\n")[0] or body["payload"]["summary"]) for path, body in server.posts]
    assert told == [
        ("/in", "[critical] Lateness: service: B is down."),
        ("/team", "[warning] Lateness: drift: A drifted."),
        ("/team", "[critical] Lateness: service: B is down."),
    ]
    assert server.posts[0][1]["client_url"] == "http://airflow.test/perennial/models/lateness/incidents#lateness-0002-service"
    assert [i.told for i in incidents.all()] == [{"team": "opened"}, {"on_call": "opened", "team": "opened"}]


def test_a_broken_channel_stops_no_other(incidents, mail_server, server, monkeypatch):
    """MN-09: One without a connection is noted with the sentence that says what to set, and told once there is one."""
    spec = lateness(alerts=(AlertSpec(channel="nowhere"), AlertSpec(channel="mail")))
    incidents.open("drift", "a", "warning", "A drifted.")
    [failure] = _look(incidents, spec)
    assert failure == "Airflow has no connection perennial_nowhere: set AIRFLOW_CONN_PERENNIAL_NOWHERE."
    assert len(mail_server.mails) == 1
    assert incidents.all()[0].missed == {"nowhere": failure}
    _connect(monkeypatch, server, "nowhere")
    assert _look(incidents, spec) == []
    assert len(server.posts) == 1


def test_a_named_mail_channel_has_its_own_addresses(incidents, mail_server, server, monkeypatch):
    """MN-09: Over the platform's mail server."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_PERENNIAL_FERRIES", json.dumps({"conn_type": "email", "extra": {"form": "mail", "to": "f@x.org, g@x.org"}})
    )
    incidents.open("drift", "a", "warning", "A drifted.")
    assert _look(incidents, lateness(alerts=(AlertSpec(channel="ferries"),))) == []
    assert [to for to, _ in mail_server.mails] == [["f@x.org", "g@x.org"]]
    assert incidents.all()[0].told == {"ferries": "opened"}


def test_whoever_answers_for_the_data_is_told_of_the_data(incidents, server, monkeypatch):
    """MN-09: Besides the model's own channels: files that are refused, ingestions and profiles that fail; not of the model's drift."""
    _connect(monkeypatch, server, "team", "team")
    _connect(monkeypatch, server, "feed", "feed")
    spec, trips = lateness(alerts=(AlertSpec(channel="team"),)), _trips(alerts=(AlertSpec(channel="feed"), AlertSpec(channel="team")))
    for kind, key in (
        ("drift", "a"),
        ("data quality", "b"),
        ("service", "ingestion"),
        ("service", "gateway"),
        ("pipeline", "profile"),
        ("pipeline", "train"),
    ):
        incidents.open(kind, key, "warning", f"{kind} {key}.")
    assert _look(incidents, spec, trips) == []
    told = {"/team": [], "/feed": []}
    for path, body in server.posts:
        told[path].append(body["text"].split("\n")[0].rpartition(": ")[2])
    assert told["/feed"] == ["data quality b.", "service ingestion.", "pipeline profile."]
    assert len(told["/team"]) == 6


def test_a_channel_that_is_named_no_more_hears_the_end(incidents, mail_server, server, monkeypatch):
    """MN-09: Of what it was told: an event that nobody resolves would go on waking people; of nothing new."""
    _connect(monkeypatch, server, "on_call", password=KEY, extra={"form": "pagerduty"})
    first = incidents.open("drift", "a", "warning", "A drifted.")
    second = incidents.open("drift", "b", "warning", "B drifted.")
    _look(incidents, lateness(alerts=(AlertSpec(channel="on_call"),)))
    incidents.open("drift", "c", "warning", "C drifted.")
    incidents.resolve(first, "Over.")
    for _ in range(2):
        _look(incidents, lateness(alerts=(AlertSpec(channel="mail"),)))
    assert [(body["event_action"], body["dedup_key"][-10:]) for _, body in server.posts[2:]] == [("resolve", "0001-drift")]
    assert len(mail_server.mails) == 3
    assert incidents.get(second).told == {"on_call": "opened", "mail": "opened"}


def test_without_channels_of_its_own_a_model_has_the_platforms(incidents, mail_server, server, monkeypatch):
    """MN-09: As set-ups from before there were any; with the severities of the settings."""
    _connect(monkeypatch, server, "webhook")
    settings = Settings(alert_mail_to="a@b.c", alert_mail_severity="info", alert_webhook_severity="critical")
    found = channels(settings, lateness())
    assert [(channel.name, channel.least, channel.data_only) for channel in found] == [
        ("mail", "info", False),
        ("webhook", "critical", False),
    ]


def test_an_end_long_ago_is_told_no_channel_that_is_new(incidents, server, monkeypatch):
    """MN-09: Whoever names a channel today is not told of what was over a month ago."""
    _connect(monkeypatch, server, "team")
    incidents.resolve(incidents.open("drift", "a", "warning", "A drifted."), "Over.")
    spec = lateness(alerts=(AlertSpec(channel="team"),))
    tell(incidents, spec, SETTINGS, channels(SETTINGS, spec), datetime.now(timezone.utc) + timedelta(days=31), Log())
    assert server.posts == []


def test_nobody_is_told_of_what_is_silenced(incidents, server, monkeypatch):
    """MN-09: It is recorded all the same; another kind is told, and what is still open is told once the silence is over."""
    _connect(monkeypatch, server, "team")
    spec, now = lateness(alerts=(AlertSpec(channel="team"),)), datetime.now(timezone.utc)
    Silences(incidents.store, "lateness").add("drift", now - timedelta(hours=1), now + timedelta(hours=1), "ada", "The source moves.")

    def look(at):
        before = len(server.posts)
        tell(incidents, spec, SETTINGS, channels(SETTINGS, spec), at, Log())
        return [body["text"].split("\n")[0].rpartition(": ")[2] for _, body in server.posts[before:]]

    gone = incidents.open("drift", "a", "warning", "A drifted.")
    incidents.open("drift", "b", "warning", "B drifted.")
    incidents.open("service", "c", "critical", "C is down.")
    assert look(now) == ["C is down."]
    incidents.resolve(gone, "Over.")
    assert look(now) == []
    assert look(now + timedelta(hours=2)) == ["B drifted."]
    assert len(incidents.all()) == 3
