"""Size limits of requests, enforced by the gateway and by the servers behind it.

>>> from perennial.serving.limits import MAX_BODY_BYTES, MAX_FEEDBACK_BYTES
>>> MAX_BODY_BYTES // 2**20, MAX_FEEDBACK_BYTES // 2**10  # MB, KB
(16, 64)
"""

MAX_BODY_BYTES = 16 << 20
MAX_FEEDBACK_BYTES = 64 << 10  # one outcome has about a hundred bytes; reading megabytes of them would hold up the only process
