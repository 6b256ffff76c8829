"""What is said of people's labels, however many there are."""

from __future__ import annotations

import numpy as np

from perennial.labelling.agreement import Agreement, Person
from perennial.labelling.doubtful import find_doubtful
from perennial.labelling.report import Report, page, text


def test_thousands_of_classes_fit_a_page() -> None:
    """DM-10, SC-01: Of many classes the cells of a matrix with most rows are listed, not a line and a column for each."""
    classes = tuple(f"<{place}>" for place in range(700))
    given = np.arange(700).repeat(2)
    scores = np.full((1400, 700), 0.0001)
    scores[np.arange(1400), given] = 0.9
    scores[8, [4, 9]] = 0.0001, 0.9  # one of the two rows of class 4 looks like class 9
    said = {name: {name: 1, classes[0]: 1} for name in classes}
    person = Person("<b>ada</b>", 1400, 0, 0, said, few=False)
    agreement = Agreement("kind", False, 700, 0, 1400, None, None, None, (person,), ())
    report = Report("frauds", "Frauds", agreement, (), 700, find_doubtful(given, scores), (), "", classes)
    drawn = page(report)
    assert len(drawn) < 200_000
    assert "<td>&lt;4&gt;</td><td>&lt;9&gt;</td><td>1</td>" in drawn
    assert "<b>ada" not in drawn
    assert max(map(len, text(report).split("\n"))) < 2000
