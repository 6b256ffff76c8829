"""What gateway and servers agree on: size limits of requests, how long connections are kept, headers of requests that no caller sent.

>>> from perennial.serving.limits import MAX_BODY_BYTES, MAX_FEEDBACK_BYTES
>>> MAX_BODY_BYTES // 2**20, MAX_FEEDBACK_BYTES // 2**10  # MB, KB
(16, 64)
"""

MAX_BODY_BYTES = 16 << 20
REPLAYED = "x-perennial-replayed"  # of a request that no caller sent: it is answered, and neither logged nor counted. Callers' are removed
RUN_HEADER = "x-perennial-run"  # of a release that asks whether a version is ready: its run, for the server's log. Callers' are removed
FALLBACK = "x-perennial-fallback"  # of an answer that stands in for one that failed: how
MAX_FEEDBACK_BYTES = 64 << 10  # one outcome has about a hundred bytes; reading megabytes of them would hold up the only process
KEEP_ALIVE_SECONDS = 75  # above the gateway's idle time, so that the gateway always closes first and no request meets a closing connection
