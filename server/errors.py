"""What can go wrong between a request and its answer, or before there is any.

    MovieMatchError
      InvalidRequestError   fields of the request break the contract
      FilterError           a filter is not of its language, or asks what its fields cannot answer
      UnknownItemError      the item asked about is not in the catalogue
      NotReadyError         no generation is loaded yet
      GenerationGoneError   the generation of a page token is there no more
      GenerationLoadingError  it has to be loaded, and has to wait for its turn
      TitlesLoadingError    the titles are being made ready, and the call has to wait for that
      DeadlinePassedError   nobody waits for the answer any more
      CallerLeftError       the caller took the call back
      OverloadedError       more calls come than can be answered
      StoppingError         the server is about to end
      UnknownCallerError    the call has no API key, or an unknown one
      RateError             the API key has no calls left for now
      ServeError            the server cannot start
      QueryError            the client cannot get or make sense of an answer
      LoadTestError         a load test cannot begin, or found what it looks for
      RecommendAllError     recommendations for everyone cannot be written

Nothing here knows of the wire; `status` says what each becomes there.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepmoviematch.data.errors import MovieMatchError

_SHOWN = 60
"""Characters of a received text that a message repeats."""

_LISTED = 400
"""Characters of a vocabulary that a message lists."""


def shown(text: str) -> str:
    """`text` quoted for a message, its middle left out if it is long."""
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"
    return json.dumps(text, ensure_ascii=False)


def listed(names: Iterable[str]) -> str:
    """`names` for a message, the last ones left out if they are many."""
    text = ", ".join(names)
    return text if len(text) <= _LISTED else f"{text[:_LISTED].rpartition(', ')[0]}, ..."


@dataclass(frozen=True)
class Violation:
    """One field that breaks the contract."""

    field: str
    """Path to the field, such as `user.history[3].rating`."""

    rule: str
    """What the field must be, what it was, and the cure."""


class InvalidRequestError(MovieMatchError):
    """Fields of the request break the contract; `violations` names every one."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        first = self.violations[0]
        others = len(self.violations) - 1
        more = f" (and {others} more {'field' if others == 1 else 'fields'})" if others else ""
        super().__init__(f"{first.field} {first.rule}{more}")


class FilterError(MovieMatchError):
    """A filter is not of its language, or asks what its fields cannot answer."""

    def __init__(self, rule: str, got: str, *, at: int, cure: str = "") -> None:
        self.at = at
        super().__init__(f"{rule}, got {got} at character {at}{'; ' if cure else ''}{cure}")


class UnknownItemError(MovieMatchError):
    """The item asked about is not in the catalogue."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        super().__init__(f"the item must be in the catalogue, got {item_id!r}; look ids up by title")


class NotReadyError(MovieMatchError):
    """No generation is loaded yet."""

    def __init__(self) -> None:
        super().__init__("no generation is loaded yet; publish one, or try again in a moment")


class GenerationGoneError(MovieMatchError):
    """The generation of a page token is there no more."""

    def __init__(self, generation_id: str) -> None:
        self.generation_id = generation_id
        super().__init__(
            f"generation {generation_id} of the page_token is there no more; begin again without a page_token"
        )


class GenerationLoadingError(MovieMatchError):
    """The generation of a page token has to be loaded, and has to wait for its turn."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(
            f"generation {generation_id} of the page_token is not loaded yet; try again in a moment"
        )


class TitlesLoadingError(MovieMatchError):
    """The titles are being made ready for another call, and that takes long."""

    def __init__(self) -> None:
        super().__init__("the titles are not ready to be looked up yet; try again in a moment")


class DeadlinePassedError(MovieMatchError):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the request was begun; allow more time")


class CallerLeftError(MovieMatchError):
    """The caller took the call back."""

    def __init__(self) -> None:
        super().__init__("the call was cancelled before the request was begun")


class OverloadedError(MovieMatchError):
    """More calls come than can be answered."""

    def __init__(self) -> None:
        super().__init__("more calls come than can be answered in time; wait before the next attempt")


class StoppingError(MovieMatchError):
    """The server is about to end."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; ask again, of another one or a little later")


class UnknownCallerError(MovieMatchError):
    """The call has no API key, or an unknown one."""

    def __init__(self) -> None:
        super().__init__(
            "a call must have a known API key, in the metadata x-api-key or authorization: Bearer"
        )


class RateError(MovieMatchError):
    """The API key has no calls left for now; in `wait_s` seconds it has one."""

    def __init__(self, calls_per_s: float, workers: int, wait_s: float) -> None:
        self.wait_s = wait_s
        shared = f" ({calls_per_s / workers:g} at each of {workers} workers)" if workers > 1 else ""
        super().__init__(
            f"the API key may make {calls_per_s:g} calls a second{shared}, got more; "
            "wait before the next attempt"
        )


class ServeError(MovieMatchError):
    """The server cannot start: the store is missing, the port is taken or untold, or a worker fails."""


class QueryError(MovieMatchError):
    """The client cannot get an answer, or cannot tell which item was meant."""


class LoadTestError(MovieMatchError):
    """A load test cannot begin, or found wrong answers or failed calls."""


class RecommendAllError(MovieMatchError):
    """Recommendations for everyone cannot be written."""
