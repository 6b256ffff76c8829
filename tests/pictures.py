"""`make pictures`: the README's pictures, of the console on a store that `make demo` left. Standard library only.

$ make pictures
$ make pictures STORE=/path/to/another/store
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import browser as browsers

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs/pictures"
WIDTH = 1180  # px
# Of each picture its address below the console's, what it has to show before it is taken, and how much of the page is taken, px.
PICTURES = {
    "models": ("/models", "flight_delays", 620),
    "model": ("/models/flight_delays", "Decisions", 1000),
    "drift": ("/models/flight_delays/drift", "window", 1000),
}
PATIENCE = 120.0  # s


def main() -> int:
    """Take them all; 0 if they are there."""
    store = Path(sys.argv[1])
    if not browsers.found() or not store.is_dir():
        print(f"There is no store at {store}: run `make demo` first." if browsers.found() else browsers.ABSENT, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python, server = Path(sys.prefix).parent / "airflow/bin/python", ROOT / "tests/integration/console/serve.py"
        with subprocess.Popen([python, server, folder, store.absolute()], stdout=subprocess.DEVNULL) as served:
            try:
                until = time.monotonic() + PATIENCE
                while not (folder / "address").exists():
                    if served.poll() is not None or time.monotonic() > until:
                        print("The console does not start; the lines above say why.", file=sys.stderr)
                        return 1
                    time.sleep(0.2)
                take((folder / "address").read_text() + "/perennial", folder / "profile")
            finally:
                served.terminate()
    for name in PICTURES:
        print(f"docs/pictures/{name}.png: {(FOLDER / f'{name}.png').stat().st_size // 1000} kB")
    return 0


def take(address: str, profile: Path) -> None:
    """Take each picture of the console at an address."""
    FOLDER.mkdir(exist_ok=True)
    browser = browsers.Browser(browsers.found(), profile)
    try:
        page = browser.page()
        page.media()
        for name, (path, words, height) in PICTURES.items():
            page.size(WIDTH, height)
            page.go(address + path)
            page.see(words)
            page.until("[...document.querySelectorAll('[data-chart]')].every((place) => place.querySelector('svg path'))")
            page.picture(FOLDER / f"{name}.png", height=height)
    finally:
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
