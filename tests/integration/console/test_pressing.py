"""What a person does on the console's pages: asks for a DAG by a button, with a mouse and with keys, or may not."""

from __future__ import annotations

import pytest

from ... import browser as browsers
from . import filled
from .conftest import PREFIX, Shown

pytestmark = pytest.mark.timeout(900)


def test_roll_back_is_two_clicks_from_a_models_page(shown: Shown, page: browsers.Page) -> None:
    """SE-11: The button says to which version it goes back, in an experiment to the champion; a reason is asked for, and Airflow is asked
    as the person, with it.
    Once the question is closed the page follows what happens again."""
    before = len(shown.told("/started"))
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    page.click(f"button[data-dag='{filled.ENDED}_rollback']", "Roll back to version 2")
    page.type("It feels wrong.")
    page.click("#yes")
    page.see("Started: manual__1", "#said")
    (started,) = shown.told("/started")[before:]
    assert (started["dag"], started["conf"]) == (f"{filled.ENDED}_rollback", {"version": 2, "reason": "It feels wrong."})
    page.run("window.asks = window.fetch")
    page.run("window.fetch = (address, ...more) => { window.again = String(address); return window.asks(address, ...more); }")
    page.click("#no")
    page.until("window.again === window.location.href")
    assert page.problems == []


def test_roll_back_is_two_clicks_from_the_list(shown: Shown, page: browsers.Page) -> None:
    """SE-11: The button in a model's row names the version, its question is answered by the second click."""
    before = len(shown.told("/started"))
    page.go(f"{shown.address}{PREFIX}/models")
    page.click(f"#model-{filled.CALM} button", "Roll back to version 1")
    page.see("Give all traffic to version 1 at once?", "#question")
    page.click("#yes")
    page.see("Started: manual__1", "#said")
    assert [(one["dag"], one["conf"]) for one in shown.told("/started")[before:]] == [(f"{filled.CALM}_rollback", {"version": 1})]


def test_what_is_pressed_stays_until_it_is_released(shown: Shown, page: browsers.Page) -> None:
    """A page that is shown anew between the press and the release of a button would get no click."""
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    page.run("window.part = document.querySelector('#page').firstElementChild; window.asks = window.fetch; window.answers = 0")
    page.run("window.fetch = (...asked) => window.asks(...asked).finally(() => setTimeout(() => { window.answers += 1; }))")
    page.run("document.body.dispatchEvent(new Event('pointerdown', {bubbles: true}))")
    page.run("document.dispatchEvent(new Event('visibilitychange'))")
    page.until("window.answers > 0")
    assert page.run("window.part.isConnected")
    page.run("document.body.dispatchEvent(new Event('pointerup', {bubbles: true}))")
    page.run("document.dispatchEvent(new Event('visibilitychange'))")
    page.until("!window.part.isConnected")


def test_a_run_that_was_started_is_followed(shown: Shown, page: browsers.Page) -> None:
    """SE-11: The question that started it leads to the run, and says what that came to, as text, while it stays open."""
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    page.click(f"button[data-dag='{filled.ENDED}_training']", "Train")
    page.click("#yes")
    page.see("Skipped at validate: No row is new since <b>then</b>.", "#said")
    assert page.run("document.querySelector('#said a').getAttribute('href')") == f"/dags/{filled.ENDED}_training/runs/manual__1"
    assert page.problems == []


def test_a_link_to_airflow_leads_out_of_its_frame(shown: Shown, page: browsers.Page) -> None:
    """DE-15: In Airflow's frame, which no link may leave, Airflow's own page goes to the DAG."""
    page.go(f"{shown.address}/routes")
    page.run(
        "(() => { const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts allow-same-origin allow-forms';"
        f" frame.src = '{PREFIX}/models/{filled.ENDED}'; document.body.append(frame);"
        " window.addEventListener('popstate', () => { window.gone = location.pathname; }); })()"
    )
    page.until(
        "((inner) => inner.readyState === 'complete' && inner.querySelector('main') !== null)"
        "(document.querySelector('iframe').contentDocument)"
    )
    page.click(f"iframe >>> a[href='/dags/{filled.ENDED}_training']", "Training")
    page.until(f"window.gone === '/dags/{filled.ENDED}_training'")


def test_what_comes_next_is_asked_of_airflow(shown: Shown, page: browsers.Page) -> None:
    """Of each DAG when it looks next, that it runs, or that it is paused; and how far the training is."""
    page.go(f"{shown.address}{PREFIX}/models/{filled.CALM}")
    page.see("It runs since", f"[data-next={filled.CALM}_training]")
    page.see("It is paused in Airflow: nothing starts by itself.", f"[data-next={filled.CALM}_release]")
    page.see("Next at Mar 30, 2026", f"[data-next={filled.CALM}_monitoring]")
    assert page.run("document.querySelector('[data-next] time').title") == "2026-03-30 09:15:00 UTC"
    page.see("A training runs: epoch 3 of at most 20 is done, its loss on validation rows is 0.41, at most 42 s to go.")
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    page.see("nothing since: it was ended, or hangs.")


def test_who_may_start_nothing_sees_why(shown: Shown, page: browsers.Page) -> None:
    """SE-11: Of a person without the right each button is off, and the reason stands beside it."""
    page.cookie("who", "reader", shown.address)
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    buttons = page.run("[...document.querySelectorAll('button[data-dag]')].map((one) => [one.dataset.dag, one.disabled])")
    assert len(buttons) >= 4
    assert all(disabled for _, disabled in buttons)
    page.see(f"You may not start {filled.ENDED}_rollback", "main")
    page.cookie("who", "owner", shown.address)


def test_keys_do_what_a_mouse_does(shown: Shown, page: browsers.Page) -> None:
    """Tab reaches the button, what is reached shows it, Enter opens the question, Escape leaves it, and the way back is kept."""
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    for _ in range(60):
        page.press("Tab")
        if page.run("document.activeElement.dataset.dag") == f"{filled.ENDED}_rollback":
            break
    assert page.run("document.activeElement.dataset.dag") == f"{filled.ENDED}_rollback"
    assert page.run("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    page.press("Enter")
    page.until("document.querySelector('dialog').open")
    page.press("Escape")
    page.until("!document.querySelector('dialog').open")
    assert page.run("document.activeElement.dataset.dag") == f"{filled.ENDED}_rollback"
