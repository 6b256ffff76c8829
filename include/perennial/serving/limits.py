"""Size limits of requests, enforced by the gateway and by the servers behind it."""

MAX_BODY_BYTES = 16 << 20
MAX_FEEDBACK_BYTES = 64 << 10  # one outcome has about a hundred bytes; reading megabytes of them would hold up the only process
