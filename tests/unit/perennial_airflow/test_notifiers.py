"""Incidents on their way to people: to a real mail server and a real webhook of this machine."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import logging
import random
import socketserver
import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import httpx
import pytest

from perennial.incidents.incidents import Incident, Incidents
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import FolderStore
from perennial_airflow.notifiers import forms, mail, webhook
from perennial_airflow.notifiers.channel import ChannelFailed
from perennial_airflow.notifiers.mail import Mail
from perennial_airflow.notifiers.notice import Notice
from perennial_airflow.notifiers.telling import channels, tell
from perennial_airflow.notifiers.webhook import Webhook, address

from ..lateness import lateness

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SECRET = "T0AB/B1CD/abcdefghij"


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mails as RFC 5321 says; `refuses` has the answer for a command, such as `{"RCPT": "550 no such user"}`; it hangs up
    where it is empty."""

    daemon_threads = allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MailSession)
        self.mails: list[tuple[list[str], email.message.EmailMessage]] = []
        self.refuses: dict[str, str] = {}
        self.unknown: set[str] = set()  # addresses
        self.seen: list[str] = []


class MailSession(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Speak."""
        self.say("220 mail.test ready")
        to: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            self.server.seen.append(line)
            if verb in self.server.refuses:
                if not self.server.refuses[verb]:
                    return
                self.say(self.server.refuses[verb])
            elif verb == "RCPT" and line.split("<")[1].split(">")[0] in self.server.unknown:
                self.say("550 no such user")
            elif verb == "EHLO":
                self.say("250-mail.test", "250 AUTH PLAIN")
            elif verb == "DATA":
                self.say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.mails.append((to, email.message_from_bytes(b"".join(lines), policy=email.policy.default)))
                self.say("250 taken")
                to = []
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                to += [line.split("<")[1].split(">")[0]] if verb == "RCPT" else []
                self.say("235 welcome" if verb == "AUTH" else "250 ok")

    def say(self, *lines: str) -> None:
        """Answer."""
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class WebhookServer(http.server.ThreadingHTTPServer):
    """Keeps what is posted; `answers` are given first, then 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WebhookPost)
        self.posts: list[tuple[str, dict]] = []
        self.authorized: list[str | None] = []  # header of each
        self.answers: list[tuple[int, dict[str, str], str]] = []


class WebhookPost(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        """Take a message, or refuse it."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers, text = self.server.answers.pop(0) if self.server.answers else (200, {}, "ok")
        self.server.posts.append((self.path, body))
        self.server.authorized.append(self.headers["Authorization"])
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _served(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mail_server(monkeypatch):
    """A mail server, and Airflow's connection to it."""
    server = MailServer()
    options = "from_email=perennial%40example.org&disable_ssl=true&disable_tls=true"
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SMTP", f"smtp://127.0.0.1:{server.server_address[1]}/?{options}")
    yield from _served(server)


@pytest.fixture
def webhook_server(monkeypatch):
    """A webhook, and Airflow's connection to it; nobody waits between two tries."""
    server = WebhookServer()
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_WEBHOOK", f"http://127.0.0.1:{server.server_address[1]}/services/{SECRET}")
    monkeypatch.setattr(webhook, "PAUSES", (0.0, 0.0))
    yield from _served(server)


@pytest.fixture
def incidents(tmp_path):
    """A model without incidents."""
    return Incidents(FolderStore(str(tmp_path)), "lateness")


def _incident(**changed) -> Incident:
    fields = {
        "id": "0012-data-quality",
        "kind": "data quality",
        "key": "k",
        "severity": "critical",
        "sentence": "`distance` is null in 312 of 891 rows.",
        "evidence": {"Report": "http://reports.test/w?a=1&b=2", "share": 0.35, "rows": [1, 2]},
        "opened": NOW,
    }
    return Incident(**{**fields, **changed})


def _notice(news="opened", runbook_url="https://docs.test/runbook", **changed) -> Notice:
    return Notice("lateness", "Lateness", _incident(**changed), news, runbook_url, owner="the ferry team")


def test_a_mail_arrives(mail_server):
    """MN-09: With severity and sentence in the subject, evidence, report and runbook in the text, at every address."""
    Mail("ada@example.org, grace@example.org", "warning").send(_notice())
    [(to, sent)] = mail_server.mails
    assert to == ["ada@example.org", "grace@example.org"]
    assert sent["From"] == "perennial@example.org"
    assert sent["Subject"] == "[critical] Lateness: data quality: `distance` is null in 312 of 891 rows."
    page = sent.get_body(("html",)).get_content()
    for part in (
        "Since 2026-03-01 12:00 UTC (critical): `distance` is null in 312 of 891 rows.",
        '<a href="http://reports.test/w?a=1&amp;b=2">Report</a>',
        '<a href="https://docs.test/runbook#data-quality">Runbook</a>',
        "<td>share</td><td>0.35</td>",
        "perennial incident --model lateness --id 12 --verdict real",
        "Lateness belongs to the ferry team.",
    ):
        assert part in page


def test_a_message_arrives_at_a_webhook(webhook_server):
    """MN-09, SY-30: Text for every server that takes Slack's messages, blocks for those that show them."""
    Webhook("warning").send(_notice())
    [(path, message)] = webhook_server.posts
    assert path == f"/services/{SECRET}"
    assert message["text"].startswith("[critical] Lateness: data quality: `distance` is null in 312 of 891 rows.\nSince ")
    assert "Runbook: https://docs.test/runbook#data-quality" in message["text"]
    assert message["blocks"][0]["text"] == {"type": "plain_text", "text": message["text"].split("\n")[0]}
    shown = "\n".join(block["text"]["text"] for block in message["blocks"])
    assert "<http://reports.test/w?a=1&amp;b=2|Report> · <https://docs.test/runbook#data-quality|Runbook>" in shown


def test_the_end_is_told_as_such(mail_server):
    """MN-09: What it was, and why it is over."""
    Mail("ada@example.org", "warning").send(_notice("resolved", resolved=NOW + timedelta(hours=3), resolution="All rows have it."))
    [(_, sent)] = mail_server.mails
    assert sent["Subject"].startswith("[over] Lateness: data quality: ")
    assert "Over since 2026-03-01 15:00 UTC: All rows have it." in sent.get_body(("html",)).get_content()


def test_without_an_address_the_runbook_is_named():
    """MN-09, OP-09: A person with the repository finds it."""
    text = _notice(runbook_url="").text()
    assert "What to do: docs/runbook.md#data-quality." in text


def test_an_alert_is_never_too_long_for_a_channel():
    """MN-09: Thousands of refused files, or a category of a megabyte: Slack refuses a message beyond 40,000 characters, and would hear of
    nothing after it."""
    long = "file.csv, " * 100_000
    notice = _notice("resolved", sentence=long, resolved=NOW, resolution=long, evidence={f"{i}{long}": long for i in range(50)})
    assert len(notice.text()) < 40_000
    assert len(notice.page()) < 40_000
    assert "file.csv" in notice.text()


def test_what_stands_behind_much_blank_is_told():
    """MN-09: A text is as long as what is seen of it."""
    notice = _notice(evidence={f"first{' ' * 10_000}second": "seen"})
    assert "first second: seen" in notice.text()


HOSTILE = "<!channel> <script>alert(1)</script> {{ conn.perennial_smtp.password }}\r\nBcc: eve@example.org &"


def test_what_callers_sent_stays_text(mail_server, webhook_server):
    """SC-01: A category's name calls no channel, runs no script, is no template and adds no header."""
    notice = _notice(sentence=HOSTILE, evidence={HOSTILE: HOSTILE, "Report": "http://r.test/|x>\"'<"})
    Mail("ada@example.org", "warning").send(notice)
    mail.MailNotifier(notice=notice, to="ada@example.org")({"dag": None})  # as Airflow calls a notifier: its fields are rendered
    Webhook("warning").send(notice)
    for to, sent in mail_server.mails:
        assert to == ["ada@example.org"]
        assert sent["Bcc"] is None
        page = sent.get_body(("html",)).get_content()
        assert "<script>" not in page
        assert 'href="http://r.test/|x&gt;&quot;&#x27;&lt;"' in page
        assert "{{ conn.perennial_smtp.password }}" in page
    assert len(mail_server.mails) == 2
    shown = json.dumps(webhook_server.posts[0][1]["blocks"][1:])
    assert "<!channel>" not in shown
    assert "&lt;!channel&gt;" in shown
    assert "|x>" not in shown


def test_blocks_are_never_too_long():
    """MN-09, SY-30: Slack refuses a message with a longer one: whatever an incident holds, all fit."""
    chance = random.Random(3)
    for _ in range(60):
        words = ["".join(chance.choice("<&> \nabcß") for _ in range(chance.randrange(1, 4000))) for _ in range(4)]
        evidence = {f"{words[0][:50]} {i}": words[1] for i in range(chance.randrange(40))} | {"Report": "http://r.test"}
        blocks = forms.slack(_notice(sentence=words[2], evidence=evidence, resolved=NOW, resolution=words[3]))["blocks"]
        assert len(blocks) <= 50
        assert len(blocks[0]["text"]["text"]) <= 150
        assert all(0 < len(block["text"]["text"]) <= 3000 for block in blocks)


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ({"RCPT": "550 no such user"}, r"ada@example\.org: 550 no such user"),
        ({"MAIL": "451 try later"}, "451 try later"),
        ({"DATA": "554 looks like spam"}, "554 looks like spam"),
        ({"EHLO": "", "HELO": ""}, "Connection unexpectedly closed"),
    ],
)
def test_a_mail_that_is_refused_is_told(mail_server, refuses, words):
    """MN-09: The sentence has the server's own words and the places to look at."""
    mail_server.refuses = refuses
    with pytest.raises(ChannelFailed, match=rf"The mail to ada@example\.org was not taken \(.*{words}.*\): look at .* perennial_smtp"):
        Mail("ada@example.org", "warning").send(_notice())


def test_an_address_that_is_refused_beside_others_is_told(mail_server, capsys):
    """MN-09: The others get the mail, once; the log says who does not."""
    mail_server.unknown = {"adda@example.org"}
    Mail("adda@example.org, grace@example.org", "warning").send(_notice())
    assert [to for to, _ in mail_server.mails] == [["grace@example.org"]]
    assert "The mail server did not take the address adda@example.org: 550 no such user." in capsys.readouterr().out


def test_a_refused_login_does_not_tell_the_password(mail_server, monkeypatch):
    """SC-04: Not in the sentence, which is kept in the store."""
    port = mail_server.server_address[1]
    uri = f"smtp://ada:hunter22@127.0.0.1:{port}/?from_email=a%40b.c&disable_ssl=true&disable_tls=true"
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SMTP", uri)
    mail_server.refuses = {"AUTH": "535 wrong user or password"}
    with pytest.raises(ChannelFailed, match="535 wrong user or password") as failed:
        Mail("ada@example.org", "warning").send(_notice())
    assert "hunter22" not in str(failed.value)


def test_no_mail_server_and_no_connection_are_told(monkeypatch, free_port):
    """MN-09: Each with the connection's name."""
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SMTP", f"smtp://127.0.0.1:{free_port}/?from_email=a%40b.c&disable_ssl=true")
    with pytest.raises(ChannelFailed, match=r"Connection refused.*perennial_smtp"):
        Mail("ada@example.org", "warning").send(_notice())
    monkeypatch.delenv("AIRFLOW_CONN_PERENNIAL_SMTP")
    with pytest.raises(ChannelFailed, match=r"not found.*perennial_smtp"):
        Mail("ada@example.org", "warning").send(_notice())


@pytest.fixture
def free_port():
    """A port at which nothing listens."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        port = server.server_address[1]
    return port


def test_a_dead_mail_server_is_not_waited_for_long():
    """MN-09: Unless the connection says otherwise: fifteen seconds for an answer, where Airflow's hook has thirty."""
    for options, seconds in (({}, 15), ({"timeout": "3"}, 3)):
        hook = mail.MailNotifier(notice=_notice(), to="ada@example.org").hook
        hook.smtp_connection = SimpleNamespace(extra_dejson=options)
        assert hook.timeout == seconds


@pytest.mark.parametrize(("refuses", "tries"), [({"RCPT": "450 busy"}, 2), ({"RCPT": "550 no such user"}, 1), ({"DATA": ""}, 2)])
def test_a_mail_server_is_asked_again_where_that_helps(mail_server, refuses, tries):
    """MN-09: Over a new connection, unless it said no for good."""
    mail_server.refuses = refuses
    with pytest.raises(ChannelFailed):
        Mail("ada@example.org", "warning").send(_notice())
    assert len([line for line in mail_server.seen if line.upper().startswith("MAIL")]) == tries


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_a_busy_webhook_is_tried_again(webhook_server, status):
    """MN-09, SY-30: Twice; the message arrives once it answers."""
    webhook_server.answers = [(status, {}, "busy"), (status, {"Retry-After": "0"}, "busy")]
    Webhook("warning").send(_notice())
    assert len(webhook_server.posts) == 3
    assert webhook_server.posts[0] == webhook_server.posts[2]


def test_a_webhook_says_when_to_come_again(webhook_server, monkeypatch):
    """MN-09, SY-30: Its `Retry-After` is kept to, as long as it is reasonable."""
    pauses = []
    monkeypatch.setattr(webhook.time, "sleep", pauses.append)
    webhook_server.answers = [(429, {"Retry-After": "7"}, ""), (429, {"Retry-After": "86400"}, "")]
    Webhook("warning").send(_notice())
    assert pauses == [7.0, webhook.LONGEST_PAUSE]


def test_a_webhook_that_stays_busy_is_told(webhook_server):
    """MN-09, SY-30: With its own words and the number of tries."""
    webhook_server.answers = [(503, {}, "maintenance")] * 3
    with pytest.raises(ChannelFailed, match=r"at 127\.0\.0\.1 did not take the alert \(503 maintenance\) at 3 tries"):
        Webhook("warning").send(_notice())


@pytest.mark.parametrize(("status", "headers"), [(403, {}), (404, {}), (410, {}), (302, {"Location": "http://127.0.0.1:9/x"})])
def test_a_webhook_that_refuses_is_asked_once(webhook_server, status, headers):
    """MN-09, SY-30: Repeating does not help, and an alert follows no redirection to where it was not meant to go."""
    webhook_server.answers = [(status, headers, "no_service")]
    with pytest.raises(ChannelFailed, match=rf"at 127\.0\.0\.1 refuses alerts \({status} no_service\): correct .* perennial_webhook"):
        Webhook("warning").send(_notice())
    assert len(webhook_server.posts) == 1


def test_nobody_sees_the_address_of_a_webhook(webhook_server, monkeypatch, free_port, caplog, capsys):
    """SC-04: Whoever knows it may write there: it is in no sentence and no log, whether the alert is taken, echoed, refused or not heard at
    all."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.INFO)
    said = []
    webhook_server.answers = [(404, {}, f"no hook at /services/{SECRET}")]
    for _ in range(2):
        try:
            Webhook("warning").send(_notice())
        except ChannelFailed as failed:
            said.append(str(failed))
    for uri in (f"http://127.0.0.1:{free_port}/services/{SECRET}", f"http://name.invalid/services/{SECRET}", f"ftp://x/{SECRET}"):
        monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_WEBHOOK", uri)
        with pytest.raises(ChannelFailed) as failed:
            Webhook("warning").send(_notice())
        said.append(str(failed.value))
    assert len(said) == 4
    assert "no hook at …" in said[0]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpcore")]
    assert SECRET not in "\n".join([*said, *ours, *capsys.readouterr()])


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"conn_type": "https", "host": "hooks.test", "schema": "services/a/b"}, "https://hooks.test/services/a/b"),
        ({"conn_type": "http", "host": "hooks.test", "port": 8065, "schema": "hooks/x"}, "http://hooks.test:8065/hooks/x"),
        ({"conn_type": "http", "host": "hooks.test", "schema": "https", "password": "a/b"}, "https://hooks.test/a/b"),
        ({"conn_type": "http", "host": "https://hooks.test/services", "password": "/a/b"}, "https://hooks.test/services/a/b"),
        ({"conn_type": "https", "host": "hooks.test", "schema": "h", "extra": '{"token": "a b"}'}, "https://hooks.test/h?token=a+b"),
        ({"conn_type": "http", "host": "https://hooks.test/x"}, "https://hooks.test/x"),
    ],
)
def test_a_connection_is_an_address(fields, url):
    """MN-09: As a URI, or as Airflow's form for HTTP and Slack has it."""
    given = {"host": None, "port": None, "schema": None, "password": None, "extra": "{}", **fields}
    assert address(SimpleNamespace(**given, extra_dejson=json.loads(given["extra"]))) == httpx.URL(url)


def test_channels_are_those_that_are_set_up(mail_server, webhook_server, monkeypatch):
    """MN-09: Mail where somebody is to get it, the webhook where Airflow knows one; each with its own least severity."""
    found = channels(Settings(alert_mail_to="a@b.c", alert_mail_severity="info", alert_webhook_severity="critical"))
    assert [(channel.name, channel.least) for channel in found] == [("mail", "info"), ("webhook", "critical")]
    monkeypatch.delenv("AIRFLOW_CONN_PERENNIAL_WEBHOOK")
    assert channels(Settings()) == []


@pytest.mark.parametrize(
    "value", [f'{{"conn_type": "http", "host": "hooks.test/{SECRET}"', f"http://[{SECRET}", f"https://hooks.test:{SECRET}/x"]
)
def test_a_webhook_that_cannot_be_read_is_no_silence(monkeypatch, value):
    """MN-09, SY-30: Airflow passes over such a variable: the channel is on all the same, and what it says when it is to tell shows nothing
    of it."""
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_WEBHOOK", value)
    assert webhook.is_set_up()
    with pytest.raises(ChannelFailed, match="AIRFLOW_CONN_PERENNIAL_WEBHOOK is set, and Airflow cannot read it") as failed:
        Webhook("warning").send(_notice())
    assert SECRET not in str(failed.value)


def test_a_webhook_that_airflow_keeps_to_itself_is_no_silence(monkeypatch):
    """MN-09, SY-29: A secrets backend that says no, as to a task of another team."""

    def refuse(conn_id):
        raise PermissionError(f"no access to {conn_id}")

    monkeypatch.setattr(webhook.BaseHook, "get_connection", refuse)
    assert webhook.is_set_up()
    with pytest.raises(ChannelFailed, match=r"does not give out its connection perennial_webhook \(PermissionError\)"):
        Webhook("warning").send(_notice())


def test_no_webhook_is_none(monkeypatch):
    """MN-09, SY-30: An empty variable is none, as for Airflow."""
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_WEBHOOK", "")
    assert not webhook.is_set_up()
    with pytest.raises(ChannelFailed, match="Airflow has no connection perennial_webhook"):
        Webhook("warning").send(_notice())


class Log:
    """Keeps sentences."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text, *values):
        """Keep it."""
        self.lines.append(text % values)

    error = exception = info


SPEC: ModelSpec = lateness()
BOTH = Settings(alert_mail_to="ada@example.org", alert_webhook_severity="critical")


def _told(incidents, log=None):
    """One look: tells what is due on both channels."""
    return tell(incidents, SPEC, BOTH, channels(BOTH), datetime.now(timezone.utc), log or Log())


def test_each_incident_is_told_once(incidents, mail_server, webhook_server):
    """MN-09: However many looks there are: when it opens, and when it is over; to a channel only from its least severity on."""
    first = incidents.open("drift", "a", "warning", "A drifted.")
    incidents.open("drift", "b", "critical", "B drifted.")
    incidents.open("drift", "c", "info", "C moved a little.")
    for _ in range(3):
        assert _told(incidents) == []
    assert "So far: 2.0 alarms a month (2 in 30 days); none was judged." in mail_server.mails[0][1].get_body(("html",)).get_content()
    assert [sent["Subject"] for _, sent in mail_server.mails] == [
        "[warning] Lateness: drift: A drifted.",
        "[critical] Lateness: drift: B drifted.",
    ]
    assert [post["text"].split("\n")[0] for _, post in webhook_server.posts] == ["[critical] Lateness: drift: B drifted."]
    incidents.resolve(first, "Over.")
    for _ in range(2):
        _told(incidents)
    assert [sent["Subject"] for _, sent in mail_server.mails[2:]] == ["[over] Lateness: drift: A drifted."]
    assert len(webhook_server.posts) == 1


def test_a_raised_incident_reaches_the_channel_that_waited_for_worse(incidents, mail_server, webhook_server):
    """MN-09: And is not told again where it was."""
    incidents.open("drift", "a", "warning", "A drifted.")
    _told(incidents)
    incidents.open("drift", "a", "critical", "A drifted far.")
    _told(incidents)
    assert len(mail_server.mails) == 1
    assert [post["text"].split("\n")[0] for _, post in webhook_server.posts] == ["[critical] Lateness: drift: A drifted far."]


def test_a_failing_channel_is_made_up_for(incidents, mail_server, webhook_server):
    """MN-09: The other is told all the same; what was missed is noted with its reason, and told once the channel works, an end that came
    meanwhile in one message."""
    webhook_server.answers = [(404, {}, "no_service")]
    first = incidents.open("drift", "a", "critical", "A drifted.")
    incidents.open("drift", "b", "critical", "B drifted.")
    log = Log()
    [failure] = _told(incidents, log)
    assert f"{failure} It is told at the next look." in log.lines
    assert len(mail_server.mails) == 2
    assert len(webhook_server.posts) == 1, "a channel that failed is not tried again at this look"
    assert [i.missed for i in incidents.all()] == [{"webhook": failure}] * 2
    incidents.resolve(first, "Over.")
    assert _told(incidents) == []
    assert [post["text"].split("\n")[0] for _, post in webhook_server.posts[1:]] == [
        "[over] Lateness: drift: A drifted.",
        "[critical] Lateness: drift: B drifted.",
    ]
    assert [i.missed for i in incidents.all()] == [{}] * 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_alert_that_is_refused_does_not_keep_the_others(incidents, mail_server, webhook_server, status):
    """MN-09: A channel that answers, and does not like what one alert says, is told the rest at the same look; the refused one stays
    due."""
    webhook_server.answers = [(status, {}, "invalid_blocks")]
    mail_server.refuses = {"DATA": "554 looks like spam"}
    for key in "abc":
        incidents.open("drift", key, "critical", f"{key} drifted.")
    log = Log()
    mail_failure, failure = _told(incidents, log)
    assert f"{status} invalid_blocks" in failure
    assert len([line for line in mail_server.seen if line.startswith("data")]) == 3, "each was tried, once"
    assert [i.missed for i in incidents.all()] == [{"mail": mail_failure, "webhook": failure}] + [{"mail": mail_failure}] * 2
    assert [i.told for i in incidents.all()] == [{}, {"webhook": "opened"}, {"webhook": "opened"}]
    mail_server.refuses = {}
    assert _told(incidents) == []
    assert [post["text"].split("\n")[0][-10:] for _, post in webhook_server.posts] == [
        "a drifted.",
        "b drifted.",
        "c drifted.",
        "a drifted.",
    ]


def test_a_killed_look_loses_nothing(incidents, mail_server, monkeypatch):
    """MN-09, DE-22: Killed before it sends, or between sending and noting it: the next look tells it; only what was sent and not noted
    comes twice."""
    for number in range(4):
        incidents.open("drift", str(number), "warning", f"{number} drifted.")
    note = incidents.told

    def killed(id, *arguments):
        if id.startswith("0003"):
            raise KeyboardInterrupt
        return note(id, *arguments)

    monkeypatch.setattr(incidents, "told", killed)
    with pytest.raises(KeyboardInterrupt):
        _told(incidents)
    monkeypatch.undo()
    port = mail_server.server_address[1]
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SMTP", f"smtp://127.0.0.1:{port}/?from_email=a%40b.c&disable_ssl=true&disable_tls=true")
    _told(Incidents(incidents.store, "lateness"))
    assert [sent["Subject"].split()[3] for _, sent in mail_server.mails] == ["0", "1", "2", "2", "3"]


def test_a_channel_with_a_defect_does_not_silence_the_others(incidents, mail_server):
    """MN-09: Its traceback is in the log; the sentence that is kept names the kind of error only."""

    class Broken:
        name, least, data_only = "broken", "info", False

        def send(self, notice):
            raise ZeroDivisionError("secret")

    incidents.open("drift", "a", "warning", "A drifted.")
    incidents.open("drift", "b", "warning", "B drifted.")
    log = Log()
    [failure] = tell(incidents, SPEC, BOTH, [Broken(), Mail("ada@example.org", "warning")], datetime.now(timezone.utc), log)
    assert failure == "The channel broken broke (ZeroDivisionError): the log of the task shows where."
    assert log.lines.count("The channel broken broke.") == 2, "it is tried with each alert: the defect may be with one"
    assert len(mail_server.mails) == 2


@pytest.mark.parametrize(
    "damaged",
    [b"{", b'{"kind": null, "since": "2020-01-01T00:00:00", "until": "2099-01-01T00:00:00", "by": "ada", "reason": "No zone."}'],
)
def test_a_silence_that_cannot_be_read_silences_nobody(incidents, mail_server, damaged):
    """MN-09: A damaged file keeps no one from hearing of what is wrong, and it is said which."""
    incidents.open("drift", "a", "warning", "A drifted.")
    incidents.store.write("silences/lateness/00000000.json", damaged)
    log = Log()
    [failure] = tell(incidents, SPEC, BOTH, [Mail("ada@example.org", "warning")], datetime.now(timezone.utc), log)
    assert "silences/lateness/00000000.json is no event" in failure
    assert failure.endswith("Until then nothing of lateness is silenced.")
    assert len(mail_server.mails) == 1


def test_channels_that_fail_at_random_are_told_all_in_the_end(incidents, webhook_server, monkeypatch):
    """MN-09: Over random outages and ends: each incident is told once when it opens and once when it is over, or once for both."""
    monkeypatch.setattr(webhook, "PAUSES", ())
    chance = random.Random(11)
    settings = Settings(alert_webhook_severity="info")
    for step in range(25):
        if chance.random() < 0.6:
            incidents.open("drift", str(chance.randrange(6)), "warning", f"{step} drifted.")
        for incident in incidents.open_ones():
            if chance.random() < 0.3:
                incidents.resolve(incident.id, "Over.")
        webhook_server.answers = [(500, {}, "")] if chance.random() < 0.5 and step < 24 else []
        tell(incidents, SPEC, settings, [Webhook("info")], datetime.now(timezone.utc), Log())
    webhook_server.answers = []
    tell(incidents, SPEC, settings, [Webhook("info")], datetime.now(timezone.utc), Log())
    assert all(i.told == {"webhook": "opened" if i.is_open else "resolved"} and not i.missed for i in incidents.all())
    assert len(incidents.all()) > 5
