"""The health check of the serving image: 0 if the server answers /live on the port that it was started with. Standard library only.

The container's main process is the server, so its command line names the port; an argument names another file with such a line.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path


def main(command_line: Path) -> int:
    """Ask the server that was started with this command line."""
    arguments = command_line.read_text().split("\0")
    port = arguments[arguments.index("--port") + 1]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=3) as answer:
            print(answer.status)
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"/live on port {port} does not answer: {error}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:] or ["/proc/1/cmdline"])))
