"""What a person does on the console's pages: asks for a DAG by a button, with a mouse and with keys, or may not."""

from __future__ import annotations

import pytest

from ... import browser as browsers
from . import filled
from .conftest import PREFIX, Shown

pytestmark = pytest.mark.timeout(900)


def test_roll_back_is_two_clicks_from_a_models_page(shown: Shown, page: browsers.Page) -> None:
    """SE-11: The button says to which version it goes back; a reason is asked for, and Airflow is asked as the person, with the reason."""
    before = len(shown.told("/started"))
    page.go(f"{shown.address}{PREFIX}/models/{filled.ENDED}")
    page.click(f"button[data-dag='{filled.ENDED}_rollback']", "Roll back to version 1")
    page.type("It feels wrong.")
    page.click("#yes")
    page.see("Started: manual__1", "#said")
    (started,) = shown.told("/started")[before:]
    assert (started["dag"], started["conf"]) == (f"{filled.ENDED}_rollback", {"reason": "It feels wrong."})
    assert page.problems == []


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
