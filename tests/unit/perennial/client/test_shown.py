"""The console's views in a notebook."""

from __future__ import annotations

import json

import pytest

import perennial
from perennial.commands import show
from perennial.errors import UnknownName
from perennial.settings import Settings


@pytest.mark.parametrize(("what", "name"), [("models", None), ("versions", "digits"), ("data", "digits"), ("incidents", None)])
def test_it_is_what_the_command_prints(what, name, store, capsys):
    """The same lines, and the same object as `--json`."""
    shown = perennial.show(what, name)
    show.run(Settings(), store, what=what, name=name)
    assert f"{shown!r}\n" == capsys.readouterr().out
    show.run(Settings(), store, what=what, name=name, json=True)
    assert json.loads(shown.view.model_dump_json()) == json.loads(capsys.readouterr().out)


def test_its_lists_are_frames(store):
    """A row for each model; a view without a list has an empty frame."""
    assert {"digits", "flight_delays"} <= set(perennial.models().frame["name"])
    assert list(perennial.models().frames) == ["rows"]
    assert perennial.show("data", "digits").frame.empty


def test_text_in_a_page_is_text(store):
    """Whatever a name or a reason holds."""
    shown = perennial.models()
    shown.lines.append("<script>alert(1)</script>\x1b[31m")
    assert "<script>" not in shown._repr_html_()
    assert "\x1b" not in shown._repr_html_()


def test_a_view_or_an_option_that_is_none_is_said(store):
    """With those that there are."""
    with pytest.raises(UnknownName, match="there are models, model, versions"):
        perennial.show("model_card", "digits")
    with pytest.raises(UnknownName, match="has no --colour"):
        perennial.show("versions", "digits", colour="red")
    with pytest.raises(UnknownName, match="`show versions` and"):
        perennial.show("models", page=2)
