"""What a word on the command line may be. Each function takes the word, and refuses what it must not be."""

import math
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

Subparsers: TypeAlias = "_SubParsersAction[ArgumentParser]"
"""What commands are added to."""


def genre(text: str) -> tuple[str, float]:
    """A genre and its stars: "comedy=4.5"."""
    name, stars = _assignment(text, 'GENRE=STARS such as "comedy=4.5"')
    return name.strip(), stars


class Told(NamedTuple):
    """What a user said of an item."""

    item: str
    """Its id or its title, as it was typed."""

    rating: float | None = None
    """In the units of the data set; None says that it is liked."""

    dislikes: bool = False
    """Whether the rating is the lowest that there is."""


def dislike(text: str) -> Told:
    """An item that is disliked."""
    return Told(text, dislikes=True)


def rating(text: str) -> Told:
    """An item and a rating of it: "Alien (1979)=4"."""
    return Told(*_assignment(text, 'ITEM=RATING such as "Alien (1979)=4"'))


def moment(text: str) -> int:
    """A date or a time, as whole seconds since 1970; without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a date or a time as in ISO 8601, got {text!r}") from None
    return math.floor((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def port(text: str) -> int:
    """0 to 65535."""
    return _whole(text, 0, 65535)


def count(text: str) -> int:
    """1 to 1000."""
    return _whole(text, 1, 1000)


def amount(text: str) -> int:
    """0 to 10 million."""
    return _whole(text, 0, 10_000_000)


def hour(text: str) -> int:
    """0 to 23."""
    return _whole(text, 0, 23)


def seed(text: str) -> int:
    """0 to 2^64 - 1."""
    return _whole(text, 0, 2**64 - 1)


def number(text: str) -> float:
    """A finite number of 0 or more."""
    value = _float(text)
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"must be a number of 0 or more, got {text!r}")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value == 0:
        raise ArgumentTypeError(f"must be above 0, got {text!r}")
    return value


def share(text: str) -> float:
    """0 to 1."""
    value = _float(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"must be 0 to 1, got {text!r}")
    return value


def _assignment(text: str, form: str) -> tuple[str, float]:
    """A name and a finite number."""
    name, equals, stated = text.rpartition("=")
    value = _float(stated)
    if not equals or not name.strip() or not math.isfinite(value):
        raise ArgumentTypeError(f"must be {form}, got {text!r}")
    return name, value


def _whole(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ArgumentTypeError(f"must be {low} to {high}, got {text!r}")
    return int(text)


def _float(text: str) -> float:
    """The number that `text` says, or NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan
