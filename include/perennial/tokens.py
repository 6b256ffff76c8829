"""Splits text into words by one rule, in training, in serving and in profiles alike. Only the standard library is needed.

The rule: the text is normalised (Unicode NFC) and its case is folded. Letters, marks and digits that stand together are a word; so is
each symbol, such as an emoji or a currency sign, and each ideograph. Everything else, such as blanks and punctuation, parts words.
Signs that cannot be seen, such as joiners and marks of direction, are dropped.

>>> words_of("Très BON, 5 ★ et 10 €!")
['très', 'bon', '5', '★', 'et', '10', '€']
>>> words_of("שלום עולם 🎉🎉")
['שלום', 'עולם', '🎉', '🎉']
"""

from __future__ import annotations

import unicodedata

_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
_PART_OF_WORDS = ("L", "M", "N")
_ZERO_WIDTH_SPACE = 0x200B
_VARIATIONS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))  # selectors of a sign's look


class _Signs(dict[int, str]):
    """What stands for each sign before words are parted at blanks; learnt as signs come."""

    def __missing__(self, sign: int) -> str:
        character, category = chr(sign), unicodedata.category(chr(sign))
        if _within(sign, _VARIATIONS) or (category == "Cf" and sign != _ZERO_WIDTH_SPACE):
            made = ""
        elif category[0] == "S" or _within(sign, _IDEOGRAPHS):
            made = f" {character} "
        else:
            made = character if category[0] in _PART_OF_WORDS else " "
        self[sign] = made
        return made


_SIGNS = _Signs()


def words_of(text: str) -> list[str]:
    """The words of a text, in order; none of a text without any."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return folded.translate(_SIGNS).split()


def _within(sign: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= sign <= last for first, last in ranges)
