"""Runs in an image's build: takes out of an environment what no program of it loads, and compiles the rest. Standard library only.

`python slim.py ENVIRONMENT` for an environment, `python slim.py --installer` for what the base image brings to install packages.
The file system of a running image is read-only, so bytecode is made here, and it is not compared with its source again.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import sys
import sysconfig
from pathlib import Path

# Tests of packages; headers, test programs and static libraries of torch, which only builds of extensions use.
UNUSED = ("**/tests", "torch/include", "torch/share", "torch/test", "torch/bin/[!t]*", "torch/bin/test*", "torch/lib/*.a")
INSTALLERS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


def main(arguments: list[str]) -> int:
    """Slim one environment, or take the installers out of the base."""
    if arguments == ["--installer"]:
        for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), "/usr/lib/python3/dist-packages"}:
            remove(Path(folder), [f for name in INSTALLERS for f in (name, f"{name}-*")])
        for folder in {sysconfig.get_path("scripts"), "/usr/bin"}:
            remove(Path(folder), ["pip", "pip3*", "wheel", "easy_install*"])
        remove(Path(sysconfig.get_path("stdlib")), ["ensurepip"])
        return 0
    environment = Path(arguments[0])
    for packages in environment.glob("lib/python*/site-packages"):
        remove(packages, UNUSED)
    # Whether all compiled is not asked: some packages ship templates named .py, which no program loads.
    compileall.compile_dir(environment, quiet=2, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return 0


def remove(folder: Path, patterns: list[str] | tuple[str, ...]) -> None:
    """Remove every file and folder below `folder` that a pattern names."""
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
