"""Names for requests, by which a caller's log and this server's can be laid side by side."""

import itertools
import re
import secrets
from collections.abc import Iterable
from typing import Any

HEADER = "x-request-id"
"""The metadata that a caller names a call with, and finds its name in when it has ended."""

LONGEST = 128

# Printable ASCII that JSON takes as it is, and that no line of a log is broken by.
_is_sane = re.compile(rf"[!#-\[\]-~]{{1,{LONGEST}}}").fullmatch
_start = secrets.token_hex(6)
_numbers = itertools.count()


def request_id(metadata: Iterable[tuple[str, Any]], *, always: bool = True) -> tuple[str, bool]:
    """The name of a call, and whether its caller wants to hear it.

    It is the one that the caller gave, if that is printable, without spaces and short, else a new
    one. Who gave none, good or bad, does not look for it in an answer, which it would make dearer.

    Args:
        metadata: Keys and values that the caller sent.
        always: Whether a call is named, too, whose caller gave none; the name is "" otherwise.
    """
    wanted = False
    for key, value in metadata:
        if key == HEADER:
            wanted = True
            if isinstance(value, str) and _is_sane(value):
                return value, True
    return f"{_start}-{next(_numbers):x}" if wanted or always else "", wanted
