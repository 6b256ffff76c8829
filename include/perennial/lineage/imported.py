"""Which files of a project, and which other packages, the code of a model imports: read from the code, nothing is run. Light.

>>> import tempfile
>>> root = Path(tempfile.mkdtemp())
>>> _ = (root / "shared.py").write_text("import numpy, far_away")
>>> _ = (root / "model.py").write_text("from shared import layers")
>>> found = imports([root / "model.py"], [root])
>>> [file.name for file in found.files], sorted(found.packages)
(['shared.py'], ['far_away', 'numpy'])
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

OWN = "perennial"  # whose files count by name


@dataclass(frozen=True)
class Imports:
    """What some files import, and what that imports in turn."""

    files: tuple[Path, ...]  # of the project, by path; without the files that were asked about
    packages: frozenset[str]  # others, by the name that is imported; without Python's own


def imports(files: Iterable[Path], roots: Sequence[Path]) -> Imports:
    """What these files import.

    Args:
        files: of Python; one that cannot be read imports nothing.
        roots: folders of the project in which Python looks for packages, such as `include`.
    """
    asked, found, packages = set(files), set[Path](), set[str]()
    to_read = sorted(asked)
    while to_read:
        file = to_read.pop()
        for name in _names(file, roots):
            first = name.partition(".")[0]
            if first == OWN or first in sys.stdlib_module_names:
                continue
            own = [each for root in roots for each in _files(root, name)]
            if not own and not any(_is_there(root, first) for root in roots):
                packages.add(first)
            new = [each for each in own if each not in found and each not in asked]
            found.update(new)
            to_read += new
    return Imports(tuple(sorted(found)), frozenset(packages))


def unpinned(packages: Iterable[str], pinned: Collection[str]) -> list[str]:
    """A clause for each package that no digest covers: it is neither in the project nor pinned in the lock file.

    Args:
        packages: by the name that is imported.
        pinned: names of the packages of the lock file.
    """
    named, clauses = importlib.metadata.packages_distributions(), []
    locked = {_plain(name.partition("[")[0]) for name in pinned}
    for package in sorted(packages):
        if any(_plain(name) in locked for name in named.get(package, ())):
            continue
        clauses.append(f"{package}, {_place(package)}")
    return clauses


def _place(package: str) -> str:
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is None:
        return "which is not here"
    where = Path(found.origin).parent if found.origin else Path(next(iter(found.submodule_search_locations or ["?"])))
    installed = any(where.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))
    return "which is installed and not in the lock file" if installed else f"which is imported from {where}"


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _is_there(root: Path, name: str) -> bool:
    return (root / name).is_dir() or (root / f"{name}.py").is_file()


def _files(root: Path, name: str) -> Iterator[Path]:
    """The files that an import of a dotted name runs, if it lies below a root."""
    place = root
    for part in name.split("."):
        place /= part
        for file in (place / "__init__.py", place.with_name(f"{part}.py")):
            if file.is_file():
                yield file


def _names(file: Path, roots: Sequence[Path]) -> Iterator[str]:
    """Dotted names that a file imports; of `from a import b` both a and a.b, since b may be a module."""
    try:
        tree = ast.parse(file.read_bytes())  # of any encoding that Python reads
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(file, node, roots)
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names if alias.name != "*")


def _base(file: Path, node: ast.ImportFrom, roots: Sequence[Path]) -> str:
    """The package or module that something is imported from; of a relative import by its full name."""
    if not node.level:
        return node.module or ""
    root = next((root for root in roots if file.is_relative_to(root)), file.parent)
    package = file.parent.relative_to(root).parts
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])
