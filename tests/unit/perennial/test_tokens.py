"""Words of a text: one rule, which no text breaks."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.tokens import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n…!?", []),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("e\u0301te\u0301 \u00e9t\u00e9", ["été", "été"]),
        ("don't re-use a_b", ["don", "t", "re", "use", "a", "b"]),
        ("5€ 🎉🎉 ❤\ufe0f", ["5", "€", "🎉", "🎉", "❤"]),
        ("שָׁלוֹם \u200fעולם\u200e", ["שָׁלוֹם", "עולם"]),  # noqa: RUF001
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("我喜欢 kana かな", ["我", "喜", "欢", "kana", "かな"]),
        ("zero\u200bwidth soft\u00adhyphen", ["zero", "width", "softhyphen"]),
        ("half \ud800 a pair", ["half", "a", "pair"]),
    ],
)
def test_a_text_is_split_by_the_rule_that_is_written(text: str, words: list[str]) -> None:
    """DM-04: Case, forms of accents and signs that cannot be seen make no difference; symbols and ideographs are words of their own."""
    assert words_of(text) == words_of(unicodedata.normalize("NFD", text)) == [unicodedata.normalize("NFC", word) for word in words]


@given(st.text(st.characters(), max_size=60))
def test_any_text_has_words_which_split_into_themselves(text: str) -> None:
    """DM-04: Whatever the text, its words are found, and they are the words of themselves and of the text in capitals."""
    words = words_of(text)
    assert words_of(" ".join(words)) == words
    assert all(words)
