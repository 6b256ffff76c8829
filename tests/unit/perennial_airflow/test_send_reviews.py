"""Reviews as mails and messages: when they are due, what they say, and that each channel gets each once."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from perennial import discovery
from perennial.incidents.incidents import Incidents
from perennial.store import FolderStore
from perennial.views.review import review_view
from perennial_airflow.notifiers.channel import ChannelFailed
from perennial_airflow.notifiers.mail import Mail
from perennial_airflow.notifiers.review_notice import ReviewNotice
from perennial_airflow.notifiers.webhook import Webhook
from perennial_airflow.operators import send_reviews
from perennial_airflow.operators.send_reviews import SendReviews, due
from perennial_airflow.stage_end import StageFault

from ..lateness import lateness

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")
HOSTILE = "<img src=x onerror=alert(1)> <!channel>"


@pytest.mark.parametrize(
    ("review", "day", "since"),
    [
        ("monthly", date(2026, 12, 1), date(2026, 11, 1)),
        ("monthly", date(2027, 1, 1), date(2026, 12, 1)),
        ("monthly", date(2026, 3, 1), date(2026, 2, 1)),
        ("monthly", date(2026, 12, 2), None),
        ("weekly", date(2026, 11, 30), date(2026, 11, 23)),  # a Monday
        ("weekly", date(2026, 12, 1), None),
        ("never", date(2026, 12, 1), None),
        ("never", date(2026, 11, 30), None),
    ],
)
def test_when_a_review_is_due(review: str, day: date, since: date | None) -> None:
    """OP-11: Of the whole month before on its first day, of seven days on Mondays."""
    assert due(review, day) == since


@pytest.fixture
def store(home: Any, monkeypatch: pytest.MonkeyPatch, task_log: Any) -> FolderStore:
    """The store of a test, and a model with an incident."""
    monkeypatch.setattr(discovery, "_models", lambda: ({"lateness": lateness()}, {}))
    store = FolderStore(str(home / "store"))
    Incidents(store, "lateness").open("drift", "a", "warning", f"It drifts: {HOSTILE}")
    return store


class Taking(Mail):
    """A channel that keeps what it is sent, or refuses it."""

    def __init__(self, name: str, fails: bool = False) -> None:
        super().__init__("team@example.test", "warning", name)
        self.fails, self.taken = fails, list[Any]()

    def send(self, notice: Any) -> None:
        if self.fails:
            raise ChannelFailed(f"{self.name} is down.")
        self.taken.append(notice)


def send(monkeypatch: pytest.MonkeyPatch, on: list[Any], day: str = "2026-12-01", model: str = "") -> dict[str, Any]:
    monkeypatch.setattr(send_reviews, "channels", lambda *_: on)
    return SendReviews(task_id="send", day=day, model=model).execute({})


def test_each_channel_gets_a_review_once(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """OP-11, MN-09: One that fails is tried again, the others are not told twice; the next month begins anew."""
    good, bad = Taking("mail"), Taking("chat", fails=True)
    with pytest.raises(StageFault, match="chat is down"):
        send(monkeypatch, [good, bad])
    bad.fails = False
    assert send(monkeypatch, [good, bad]) == {"sent": ["lateness"]}
    assert (len(good.taken), len(bad.taken)) == (1, 1)
    assert good.taken[0].view.since.isoformat() == "2026-11-01T00:00:00+00:00"
    assert send(monkeypatch, [good], "2026-12-02") == {"sent": []}
    send(monkeypatch, [good], "2027-01-01")
    assert len(good.taken) == 2


def test_one_is_sent_by_hand_at_any_time(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """OP-11: Of the last thirty days, as often as somebody asks; the one that is due comes all the same."""
    good = Taking("mail")
    for _ in range(2):
        send(monkeypatch, [good], "2026-12-17", "lateness")
    send(monkeypatch, [good])
    assert len(good.taken) == 3


def test_a_garbled_note_is_no_reason_to_send_nothing(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-18: It is sent again."""
    store.write("views/reviews/lateness.json", b"[")
    good = Taking("mail")
    send(monkeypatch, [good])
    assert len(good.taken) == 1


def test_chats_take_it_and_channels_for_incidents_do_not(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """OP-11, SY-30: Slack and Teams by their forms; events, issues and a team's own template are for incidents alone."""
    posted: list[Any] = []
    form = "slack"
    connection = SimpleNamespace(extra_dejson={})
    monkeypatch.setattr(send_reviews, "connection_of", lambda name: connection)
    monkeypatch.setattr(send_reviews, "form_of", lambda connection: form)
    monkeypatch.setattr(send_reviews, "Target", SimpleNamespace(of=lambda *_: "there"))
    monkeypatch.setattr(send_reviews, "post", lambda where, body: posted.append(body))
    for form in ("slack", "teams", "pagerduty", "jira"):
        send(monkeypatch, [Webhook("warning", form)], model="lateness")
    send(monkeypatch, [Webhook("warning", "own", {"text": "{text}"})], model="lateness")
    assert [sorted(body) for body in posted] == [["blocks", "text"], ["attachments", "type"]]
    assert "<!channel>" not in str(posted[0]["blocks"])


def test_what_it_says(store: FolderStore) -> None:
    """OP-11: Subject, parts with heads, a link to the page, whose it is; what callers sent stays text in a mail."""
    notice = ReviewNotice(review_view(store, "lateness"), "http://airflow.test/perennial/models/lateness/review?days=30")
    assert notice.subject.startswith("[review] ")
    text, page = notice.text(), notice.page()
    for told in (text, page):
        assert "What is open" in told
        assert notice.view.sentence in told
        assert "http://airflow.test/perennial/models/lateness/review?days=30" in told
        assert f"belongs to {notice.view.row.owner}." in told
    assert "<img" not in page
    assert "&lt;img" in page
