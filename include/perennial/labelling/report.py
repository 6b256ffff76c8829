"""What is known of people's labels, as text, as JSON, and as one self-contained HTML page.

>>> from perennial.labelling.report import Report, text
>>> print(text(Report("frauds", "Frauds", None, (), 0, None, (), "No version serves yet.")))
Nobody's labels of frauds were imported yet.
Doubtful labels: No version serves yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from perennial.labelling.agreement import FEW, RELIABLE, TENTATIVE, Agreement, Person
from perennial.labelling.doubtful import Doubt
from perennial.pages import code, document, table_of, tiles

SHOWN = 20  # doubtful labels and rows held back that the text names; the page and JSON have more
ON_PAGE = 500
MOST_CLASSES = 20  # of a matrix on the page; of more the largest cells are listed


@dataclass(frozen=True)
class DoubtfulLabel:
    """One label that is probably wrong."""

    key: str
    given: str
    answer: str
    probability: float  # that the model gives its answer
    probability_of_given: float


@dataclass(frozen=True)
class Report:
    """What is known of the labels of one model.

    Attributes:
        model: its name.
        title: for people.
        agreement: how far people agree; None if nobody's labels were imported.
        held: rows that are held back: key, and why.
        agreed: rows with an agreed label.
        doubt: what confident learning found; None where it cannot tell.
        doubtful: the doubtful labels, the most doubtful first.
        about_doubt: what was looked at, or why nothing can be told.
        classes: names of the classes.
        correcting: what to do about the doubtful ones where people's answers on them could not land; empty where they can.
    """

    model: str
    title: str
    agreement: Agreement | None
    held: tuple[tuple[str, str], ...]
    agreed: int
    doubt: Doubt | None
    doubtful: tuple[DoubtfulLabel, ...]
    about_doubt: str
    classes: tuple[str, ...] = ()
    correcting: str = ""

    def as_json(self) -> dict[str, Any]:
        """The report as JSON can carry it."""
        fields = asdict(self)
        if self.agreement:
            fields["agreement"]["sentence"] = self.agreement.sentence
            for person, shown in zip(self.agreement.people, fields["agreement"]["people"], strict=True):
                shown["agreement"] = person.agreement
        if self.doubt:
            del fields["doubt"]["places"], fields["doubt"]["classes"]
        return fields


def text(report: Report) -> str:
    """The report for a terminal."""
    lines = _agreement_lines(report)
    lines.append(f"Doubtful labels: {report.about_doubt}")
    if report.doubt:
        lines.append(_doubt_words(report))
        lines += [
            f"  {label.key}: given {label.given}, the model says {label.answer} with {label.probability:.3f}"
            for label in report.doubtful[:SHOWN]
        ]
        if len(report.doubtful) > SHOWN:
            lines.append(f"  and {len(report.doubtful) - SHOWN} more.")
        if report.doubtful:
            lines.append(
                report.correcting or f"Have them looked at again: perennial labels choose FILE --model {report.model} --by doubtful"
            )
    return "\n".join(lines)


def _agreement_lines(report: Report) -> list[str]:
    one = report.agreement
    if one is None:
        return [f"Nobody's labels of {report.model} were imported yet."]
    lines = [
        one.sentence,
        f"{one.labels:,} labels of {one.rows:,} rows by {len(one.people)} people; {report.agreed:,} rows are agreed on, "
        f"{len(report.held):,} held back.",
    ]
    for person in one.people:
        agrees = (
            "no row in common with others"
            if person.agreement is None
            else f"agrees with others in {person.agreement:.0%} of {person.pairs:,}"
        )
        against = "; ".join(_mistakes(person)) or "never against what was agreed on"
        lines.append(f"  {_name(person.name)}: {person.labels:,} labels, {agrees}; {against}{'; too few to tell' if person.few else ''}")
    lines += [f"  held back: {key}: {why}" for key, why in report.held[:SHOWN]]
    return [*lines, f"  and {len(report.held) - SHOWN} more."] if len(report.held) > SHOWN else lines


def _name(person: str) -> str:
    return person or "(unnamed)"


def _mistakes(person: Person) -> list[str]:
    """What a person said where something else was agreed on, the most frequent first."""
    mistakes = [
        (count, f"said {said} for {agreed} {count} times")
        for agreed, counts in person.said.items()
        for said, count in counts.items()
        if said != agreed
    ]
    told = [words for _, words in sorted(mistakes, key=lambda mistake: -mistake[0])]
    return told if len(told) <= SHOWN else [*told[:SHOWN], f"and {len(told) - SHOWN} more"]


def _doubt_words(report: Report) -> str:
    assert report.doubt is not None
    return (
        f"{len(report.doubtful):,} of {report.doubt.rows:,} labels are doubtful; of all labels about {report.doubt.wrong:.1%} are wrong, "
        "if the model's scores can be trusted."
    )


def page(report: Report) -> str:
    """The report as a page."""
    sections = [f"<h1>{escape(report.title)}: labels by people</h1>", *_agreement_sections(report), *_doubt_sections(report)]
    return document(f"{report.title}: labels by people", sections)


def _agreement_sections(report: Report) -> list[str]:
    one = report.agreement
    if one is None:
        return [f"<p>{escape(_agreement_lines(report)[0])}</p>"]
    state = "" if one.alpha is None or one.alpha >= RELIABLE else " changed" if one.alpha >= TENTATIVE else " alarm"
    figures = [
        ("?" if one.alpha is None else f"{one.alpha:.3f}", "Krippendorff's alpha"),
        (f"{one.labels:,}", f"labels of {one.rows:,} rows"),
        (f"{len(one.people)}", "people"),
        (f"{report.agreed:,}", "rows agreed on"),
        (f"{len(report.held):,}", "rows held back"),
    ]
    people = [
        (
            escape(_name(person.name)) + (" <span class=mark>few</span>" if person.few else ""),
            f"{person.labels:,}",
            "" if person.agreement is None else f"{person.agreement:.0%} of {person.pairs:,}",
            escape("; ".join(_mistakes(person))),
        )
        for person in one.people
    ]
    few = [_name(person.name) for person in one.people if person.few]
    sections = [
        f"<div class='verdict{state}'><b>{escape(one.sentence)}</b></div>",
        tiles(figures),
        "<h2>People</h2>",
        table_of(("Person", "Labels", "Agrees with others", "Said otherwise than was agreed on"), people),
        f"<p class='quiet small'>{escape(', '.join(few))}: fewer than {FEW} labels, too few to tell.</p>" if few else "",
        *(_confusion(person) for person in one.people if person.said),
    ]
    if one.pairs:
        pairs = [(escape(_name(first)), escape(_name(other)), f"{rows:,}", f"{share:.0%}") for first, other, rows, share in one.pairs]
        sections += ["<h2>Pairs</h2>", table_of(("Person", "and", "Rows of both", "Same label"), pairs)]
    if report.held:
        held = [(escape(key), escape(why)) for key, why in report.held[:ON_PAGE]]
        sections += ["<h2>Held back</h2>", table_of(("Row", "Why"), held), _more(len(report.held))]
    return sections


def _confusion(person: Person) -> str:
    said = sorted({said for counts in person.said.values() for said in counts})
    if max(len(said), len(person.said)) > MOST_CLASSES:
        cells = [(agreed, word, count) for agreed, counts in person.said.items() for word, count in counts.items()]
        table = _largest(("agreed on", "said", "rows"), cells)
    else:
        rows = [
            (escape(agreed), *(f"<b>{counts.get(word, 0):,}</b>" if word == agreed else f"{counts.get(word, 0):,}" for word in said))
            for agreed, counts in person.said.items()
        ]
        table = table_of(("agreed on", *(f"said {word}" for word in said)), rows)
    return f"<details><summary>{escape(_name(person.name))} against what was agreed on</summary>{table}</details>"


def _doubt_sections(report: Report) -> list[str]:
    sections = ["<h2>Doubtful labels</h2>", f"<p>{code(report.about_doubt)}</p>"]
    if report.doubt is None:
        return sections
    if len(report.classes) > MOST_CLASSES:
        matrix = _largest(
            ("labelled", "confidently", "rows"),
            [
                (given, answer, count)
                for given, counts in zip(report.classes, report.doubt.joint, strict=True)
                for answer, count in zip(report.classes, counts, strict=True)
            ],
        )
    else:
        joint = [
            (escape(name), *(f"{count:,}" for count in counts)) for name, counts in zip(report.classes, report.doubt.joint, strict=True)
        ]
        matrix = table_of(("labelled", *(f"confidently {name}" for name in report.classes)), joint)
    labels = [
        (escape(one.key), escape(one.given), escape(one.answer), f"{one.probability:.3f}", f"{one.probability_of_given:.3f}")
        for one in report.doubtful[:ON_PAGE]
    ]
    return [
        *sections,
        f"<p>{escape(_doubt_words(report))}</p>",
        f"<p>{escape(report.correcting)}</p>" if report.correcting and labels else "",
        matrix,
        table_of(("Row", "Label", "Model", "Probability", "of the label"), labels) if labels else "",
        _more(len(report.doubtful)),
    ]


def _largest(heads: tuple[str, str, str], cells: Sequence[tuple[str, str, int]]) -> str:
    """The cells of a matrix that are no agreement, those with most rows first."""
    apart = sorted((cell for cell in cells if cell[0] != cell[1] and cell[2]), key=lambda cell: -cell[2])
    return table_of(heads, [(escape(one), escape(other), f"{count:,}") for one, other, count in apart[:ON_PAGE]]) + _more(len(apart))


def _more(count: int) -> str:
    return f"<p class='quiet small'>and {count - ON_PAGE:,} more</p>" if count > ON_PAGE else ""
