"""What a server does not answer with scores: a status, a reason and one sentence, whichever way the request came.

>>> from perennial.serving.refused import too_large
>>> str(too_large(64 << 10))
'The request is larger than 64 KB: send one outcome in each.'
"""

from __future__ import annotations

from perennial.serving.limits import MAX_BODY_BYTES

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class Refused(Exception):
    """A request gets no scores; the message is one sentence for the caller."""

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status  # of HTTP
        self.reason = reason  # a word for programs

    def document(self) -> dict[str, object]:
        """The refusal in Seldon's form of an error."""
        return {"status": {"status": 1, "info": str(self), "code": -1, "reason": self.reason}}


def bad_request(sentence: str) -> Refused:
    """The request does not fit."""
    return Refused(400, "BAD_REQUEST", sentence)


def form_sent(kind: str) -> Refused:
    """The body says that it is a form, which is read at many times its size."""
    return bad_request(f"The body is sent as {kind}: send JSON with the header Content-Type: application/json.")


def too_large(limit: int) -> Refused:
    """The body is larger than the bytes that its path allows."""
    if limit == MAX_BODY_BYTES:
        return Refused(413, "BAD_REQUEST", f"The request is larger than {limit >> 20} MB: send its rows in several requests.")
    return Refused(413, "BAD_REQUEST", f"The request is larger than {limit >> 10} KB: send one outcome in each.")
