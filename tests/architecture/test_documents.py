"""Documents cannot lie: links, targets and commands that they name exist, and they use the project's words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perennial import options

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "include/perennial_models").rglob("*.md")])
BANNED = re.compile(r"\b(jobs?|artifacts?|production models?|(?<!fresh )baselines?)\b", re.IGNORECASE)
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    """A relative link names a file that is there."""
    links = [link for link in LINK.findall(document.read_text()) if not link.startswith(("http:", "https:", "mailto:"))]
    assert not [link for link in links if not (document.parent / link).exists()]


@each_document
def test_named_targets_and_commands_exist(document: Path) -> None:
    """`make x Y=z` is a target of the Makefile that reads Y, `perennial x` a stage or command."""
    spans = " \n".join(CODE.findall(document.read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]*)", spans)) <= targets
    given = {
        name
        for call in re.findall(r"\bmake [a-z][a-z-]*((?: [A-Z]+=(?:\"[^\"]*\"|\S+))+)", spans)
        for name in re.findall(r"([A-Z]+)=", call)
    }
    assert given <= set(re.findall(r"\$\(([A-Z]+)\)", (ROOT / "Makefile").read_text()))
    named = set(re.findall(r"(?:^|[`\s])perennial ([a-z][a-z-]*)\b", spans))
    assert named <= {*options.STAGES, *options.COMMANDS}


@each_document
def test_the_words_are_the_glossarys(document: Path) -> None:
    """One word for one thing: the glossary's last column is not used elsewhere."""
    if document.name == "glossary.md":
        return
    prose = CODE.sub("", document.read_text())
    assert not sorted({match.group(0) for match in BANNED.finditer(prose)})
