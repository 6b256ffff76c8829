"""Answers requests from standard input by a server's own application: a version, without the network. Runs in the serving environment.

A request is a line `{"path", "type", "body"}`, its answer a line `{"status", "text"}`; bodies are base64. At the end of the input the logs
are written.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import warnings

warnings.filterwarnings("ignore")
logging.getLogger("seldon_core").setLevel(logging.CRITICAL)

from perennial.serving.server import application  # noqa: E402

if __name__ == "__main__":
    name, version, digest = sys.argv[1:]
    from perennial.serving.served_version import ServedVersion

    served = ServedVersion(name, int(version), digest)
    app, _ = application(served)
    served.load()
    client = app.test_client()
    for line in sys.stdin:
        given = json.loads(line)
        answer = client.post(given["path"], data=base64.b64decode(given["body"]), content_type=given["type"])
        print(json.dumps({"status": answer.status_code, "text": answer.get_data(as_text=True)}), flush=True)
    served.close()
