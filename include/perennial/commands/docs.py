"""`perennial docs`: write the documentation that is generated from the code; `--check` only compares.

$ perennial docs --check
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import tempfile
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from perennial import discovery, options, specs
from perennial.errors import EXIT_DONE, EXIT_FAULT, Fault
from perennial.local.project import ROOT, executable
from perennial.log_line import LogLine
from perennial.log_lines import SCHEMA, VARIABLE
from perennial.settings import PREFIX, Settings
from perennial.store import Store

HEAD = "<!-- Made by `make docs` from the code; edit the code. -->\n\n"


def run(settings: Settings, store: Store, *, check: bool = False) -> int:
    """Write `docs/{settings,commands,specs,dags,log-lines}.md`; with `check`, 1 if one of them is not what the code says."""
    pages = {
        "settings": settings_page(),
        "commands": commands_page(),
        "specs": specs_page(),
        "log-lines": log_lines_page(),
        "dags": dags_page(_dag_files(settings)),
    }
    stale = [ROOT / "docs" / f"{name}.md" for name, page in pages.items() if not _same(ROOT / "docs" / f"{name}.md", HEAD + page)]
    if check and stale:
        print(f"Out of date: {', '.join(str(p.relative_to(ROOT)) for p in stale)}. Run `make docs` and commit what it writes.")
        return EXIT_FAULT
    for path in () if check else stale:
        path.write_text(HEAD + pages[path.stem])
        print(f"Wrote {path.relative_to(ROOT)}.")
    for left_out in discovery.broken():
        print(f"Left out: {left_out.sentence}")
    if not stale:
        print("The generated documents are up to date.")
    return EXIT_DONE


def settings_page() -> str:
    """All settings, as a table."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _default(field), _type(field.annotation), field.description)
        for name, field in Settings.model_fields.items()
    ]
    return "# Settings\n\nEvery setting is an environment variable, read once at the start of a command or stage.\n\n" + _table(
        ("variable", "default", "type", "meaning"), rows
    )


def commands_page() -> str:
    """All stages and commands with their arguments."""
    parts = [
        "# Commands\n\n`perennial COMMAND`. Exit codes: 0 done or skipped, 2 refused (a decision; repeating it changes nothing), "
        "1 fault (trying again may help).\n"
    ]
    for title, table in (("Stages", options.STAGES), ("Questions and errands", options.COMMANDS)):
        parts.append(f"## {title}\n")
        if title == "Stages":
            parts.append("Each runs by hand exactly as the DAGs run it. All take `--result FILE`: write the result there as JSON.\n")
        for name, (summary, wanted) in table.items():
            parts.append(f"### `{' '.join(['perennial', name, *map(_usage, wanted)])}`\n\n{summary[0].upper()}{summary[1:]}.\n")
            if wanted:
                rows = [(f"`{o.name}`", _option_meaning(o), "" if o.default in (None, "") else f"`{o.default}`") for o in wanted]
                parts.append(_table(("argument", "meaning", "default"), rows))
    return "\n".join(parts)


def specs_page() -> str:
    """All fields of all specs."""
    parts = [
        "# Specs\n\nWhat a dataset and a model are: the fields of `perennial.specs`. A field without default must be given; "
        "an unknown one is refused.\n"
    ]
    for name in (
        "DatasetSpec",
        "Column",
        "FileForm",
        "ModelSpec",
        *(n for n in specs.__all__ if n.endswith(("Spec", "Source", "Pagination")) and n not in ("DatasetSpec", "ModelSpec", "Spec")),
    ):
        spec: type[BaseModel] = getattr(specs, name)
        rows = [(f"`{f}`", _type(field.annotation), _default(field), field.description) for f, field in spec.model_fields.items()]
        parts.append(f"## {name}\n\n{inspect.getdoc(spec)}\n\n" + _table(("field", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def log_lines_page() -> str:
    """All fields of a line of JSON, as a table."""
    rows = [
        (
            f"`{field.alias or name}`",
            _type(field.annotation).removesuffix(" or none"),
            "" if field.is_required() else "no",
            field.description,
        )
        for name, field in LogLine.model_fields.items()
    ]
    head = f"# Log lines\n\nFields of a line that programs log where `{VARIABLE}` is `json`, form {SCHEMA}. What they are for: logs.md.\n\n"
    return head + _table(("field", "type", "always there", "meaning"), rows)


def dags_page(files: list[dict[str, Any]]) -> str:
    """The DAGs, one section for each file: its table row, its parameters and its manual."""
    rows, sections = [], []
    for file in files:
        ids = [d["id"] for d in file["dags"]]
        kind = "dataset" if len(_patterns(ids, "dataset")) < len(_patterns(ids, "model")) else "model"
        names = _patterns(ids, kind)
        manual = inspect.cleandoc(file["manual"]).format(name=f"<{kind}>", title=f"a {kind}", dataset="<dataset>")
        first = manual.split("\n\n")[0].lstrip("# ").replace("\n", " ")
        rows.append((", ".join(f"`{n}`" for n in names), f"`dags/{file['file']}`", first))
        sections.append(f"## {', '.join(f'`{n}`' for n in names)}\n\n{_lower_headings(manual)}\n")
        params = file["dags"][0]["params"] if file["dags"] else []
        if params:
            sections.append(
                _table(
                    ("parameter", "type", "default", "meaning"),
                    [(f"`{p['name']}`", _json_type(p["type"]), f"`{p['default']}`", p["meaning"]) for p in params],
                )
            )
    return "# DAGs\n\n" + _table(("DAG", "file", "what it does"), rows) + "\n" + "\n".join(sections)


def _dag_files(settings: Settings) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            **settings.environment(),
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        command = [executable(settings, "airflow", "python"), "-m", "perennial_airflow.dag_listing", str(ROOT / "dags")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Fault(f"The DAG files cannot be read: {done.stderr.strip().splitlines()[-1:]}")
    dag_files: list[dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
    return dag_files


def _patterns(dags: list[str], kind: str) -> list[str]:
    """`flights_ingestion` is `<dataset>_ingestion`: the page does not change when a model is added.

    A name may be both a dataset's and a model's.
    """
    known = sorted(discovery.datasets() if kind == "dataset" else discovery.models(), key=len, reverse=True)
    return sorted({next((f"<{kind}>{dag[len(name) :]}" for name in known if dag.startswith(f"{name}_")), dag) for dag in dags})


def _lower_headings(manual: str) -> str:
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in manual.splitlines())


def _usage(option: options.Option) -> str:
    value = "" if option.type is bool else f" {option.name.lstrip('-').upper().replace('-', '_')}"
    text = f"{option.name}{value}" if option.name.startswith("-") else option.name.upper() + (" ..." if option.many else "")
    return text if option.required else f"[{text}]"


def _option_meaning(option: options.Option) -> str:
    return option.help + (f": {', '.join(f'`{c}`' for c in option.choices)}" if option.choices else "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default if field.default is not PydanticUndefined else field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"`{type(value).__name__}()`"
    return "" if value in (None, "") else f"`{value}`"


def _type(annotation: Any) -> str:
    return " ".join(_type_words(annotation))


def _type_words(annotation: Any) -> Iterator[str]:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        yield " or ".join(f"`{v}`" for v in inner)
    elif origin in (types.UnionType, typing.Union):
        yield " or ".join("none" if a is type(None) else _type(a) for a in inner)
    elif origin is typing.Annotated:
        yield _type(inner[0])
    elif origin is tuple:
        yield f"{_type(inner[0])}, ..."
    elif origin is dict:
        yield f"{_type(inner[0])}: {_type(inner[1])}"
    else:
        yield getattr(annotation, "__name__", str(annotation))


def _json_type(kind: object) -> str:
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind or "")


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines) + "\n"


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text
