"""Where commands write the files of a new dataset or model: into a project, or into the platform's checkout where none is named."""

from __future__ import annotations

from pathlib import Path

from perennial import projects
from perennial.errors import SettingMissing, UnknownName
from perennial.settings import Settings

PROJECT = Path(__file__).parents[3]  # the platform's own checkout


def target(settings: Settings, asked: Path | None) -> Path:
    """The folder that is written into.

    Args:
        settings: name the projects.
        asked: the name or folder of one of them; the only one if None.

    Raises:
        UnknownName: it must be said which.
        SettingMissing: the project is none.
    """
    named = settings.projects
    if asked is None and len(named) > 1:
        names = ", ".join(project.name for project in named)
        raise UnknownName(f"{projects.VARIABLE} names several projects ({names}): say with --project which one is written into.")
    if asked is None and not named:
        return PROJECT
    chosen = named[0] if asked is None else _asked(asked, named)
    if chosen in named and (why := projects.trouble(chosen)):
        raise SettingMissing(f"{why[0].upper()}{why[1:]}.")
    return chosen


def _asked(asked: Path, named: tuple[Path, ...]) -> Path:
    place = asked.expanduser().resolve()
    for project in named:
        if str(asked) == project.name or place == project.resolve():
            return project
    if place.is_dir():
        return place
    known = ", ".join(project.name for project in named) or "none"
    raise UnknownName(
        f"There is no project {asked}: name a folder, or one of those that {projects.VARIABLE} names ({known}); `perennial new` makes one."
    )
