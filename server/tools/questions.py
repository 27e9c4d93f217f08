"""Questions that know what their answers must look like, whatever the server and its data.

So a load test can tell a wrong answer without knowing the right one.
"""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeAlias

from deepmoviematch.client import pb

_FLOAT32 = 1e-6
_LENGTH = 1e-4
_MOST = 1 + _LENGTH
"""Of what is at most 1."""

_PARTS = 1e-3
"""How far the parts of an explanation may be from the score that they explain."""


@dataclass(frozen=True)
class Learnt:
    """What a server told of itself before the test."""

    low: float = -math.inf
    top: float = math.inf
    """Ends of the scale of ratings."""

    generation: str = ""
    """The generation that was asked."""

    ids: frozenset[str] = frozenset()
    """All items of that generation; none where they are too many to be asked for."""


@dataclass(frozen=True)
class ListCall:
    """A request for a list, and what its answer must look like."""

    call: str
    """Name of the method."""

    request: Any
    size: int
    """How many results are asked for."""

    absent: frozenset[str] = field(default=frozenset())
    """Ids that must not be among them."""

    fits: Callable[[pb.Recommendation], bool] = lambda _: True
    """What every one of them must be."""

    available: int = 0
    """At least so many items may be among them, on all pages together."""

    descends: bool = True
    """Whether scores must not rise."""

    learnt: Learnt = Learnt()
    """What results are held to."""

    pages: int = 1
    """How many to ask for, one after the other."""

    seen: tuple[str, ...] = ()
    """Ids on the pages before."""

    pinned: str = ""
    """The generation that those came from."""

    def fault(self, response: Any, oldest: int) -> str | None:
        """What is wrong with an answer, if anything.

        Args:
            response: The answer.
            oldest: The number of the oldest generation that may answer.
        """
        found = response.results
        ids = [item.item_id for item in found]
        generation = self.generation(response)
        walks = bool(self.pinned)
        due = min(self.size, self.available - len(self.seen))
        low, top = self.learnt.low - _FLOAT32, self.learnt.top + _FLOAT32
        rated = [item.predicted_rating for item in found if item.HasField("predicted_rating")]
        missing = getattr(response, "missing_item_ids", ())
        faults = {
            f"{len(found)} results for {self.size}": len(found) > self.size
            or (len(found) < self.size and not response.metadata.exhausted),
            f"{len(found)} results where {due} are left": len(found) < due,
            "an item twice": len({*ids, *self.seen}) != len(ids) + len(self.seen),
            "an item that was to be left out": not self.absent.isdisjoint(ids),
            "an item that was not asked for": not all(map(self.fits, found)),
            "an item that does not exist": bool(self.learnt.ids)
            and generation == self.learnt.generation
            and not self.learnt.ids.issuperset(ids),
            "an unknown item that was not sent": bool(missing)
            and not _sent(self.request).issuperset(missing),
            "ranks out of order": any(
                item.rank != rank for rank, item in enumerate(found, start=len(self.seen) + 1)
            ),
            "a score that is no number": not all(math.isfinite(item.score) for item in found),
            "scores out of order": self.descends
            and any(after.score > before.score + _FLOAT32 for before, after in pairwise(found)),
            "a score outside of -1 to 1": not all(abs(item.score) <= _MOST for item in found),
            "a rating outside of the scale": not all(low <= rating <= top for rating in rated),
            "another generation on another page": walks and generation != self.pinned,
            "no token for what is left": not response.metadata.exhausted and not response.next_page_token,
        }
        return _first(faults) or _fault_of(generation, -1 if walks else oldest)

    def generation(self, response: Any) -> str:
        """The generation that answered."""
        name: str = response.metadata.generation_id
        return name

    def following(self, response: Any) -> "ListCall | None":
        """What to ask next, given the answer: for the next page, if it is wanted and there is one."""
        if self.pages == 1 or not response.next_page_token:
            return None
        request = deepcopy(self.request)
        request.page_token = response.next_page_token
        return replace(
            self,
            request=request,
            pages=self.pages - 1,
            seen=(*self.seen, *(item.item_id for item in response.results)),
            pinned=self.generation(response),
        )


@dataclass(frozen=True)
class Batch:
    """Several questions in one call."""

    questions: tuple[ListCall, ...]
    call: str = "BatchRecommend"

    @property
    def request(self) -> pb.BatchRecommendRequest:
        """The call's request."""
        return pb.BatchRecommendRequest(requests=[question.request for question in self.questions])

    def fault(self, response: Any, oldest: int) -> str | None:
        """See `ListCall.fault`."""
        answers = response.responses
        if len(answers) != len(self.questions):
            return f"{len(answers)} answers to a batch of {len(self.questions)}"
        if any(answer.HasField("status") for answer in answers):
            return "a request refused in a batch"
        if len({answer.metadata.generation_id for answer in answers}) > 1:
            return "two generations in a batch"
        pairs = zip(self.questions, answers, strict=True)
        return next(filter(None, (question.fault(answer, oldest) for question, answer in pairs)), None)

    def generation(self, response: Any) -> str:
        """See `ListCall.generation`."""
        return self.questions[0].generation(response.responses[0]) if response.responses else ""

    def following(self, response: Any) -> None:
        """Nothing: see `ListCall.following`."""


@dataclass(frozen=True)
class Embedding:
    """The question where a user is."""

    request: pb.EmbedUserRequest
    call: str = "EmbedUser"

    def fault(self, response: pb.EmbedUserResponse, oldest: int) -> str | None:
        """See `ListCall.fault`."""
        cosines = [genre.cosine for genre in response.nearest_genres]
        faults = {
            f"{len(response.vector)} numbers for {response.dimension}": response.dimension < 1
            or len(response.vector) != response.dimension,
            "a vector of another length than 1": not abs(math.hypot(*response.vector) - 1) <= _LENGTH,
            "genres out of order": not all(-_MOST <= cosine <= _MOST for cosine in cosines)
            or any(after > before for before, after in pairwise(cosines)),
            "an unknown item that was not sent": not {each.item_id for each in self.request.user.history}
            >= set(response.missing_item_ids),
        }
        return _first(faults) or _fault_of(self.generation(response), oldest)

    def generation(self, response: pb.EmbedUserResponse) -> str:
        """See `ListCall.generation`."""
        return response.metadata.generation_id

    def following(self, response: pb.EmbedUserResponse) -> None:
        """Nothing: see `ListCall.following`."""


CheckedCall: TypeAlias = ListCall | Batch | Embedding
"""One call of a load test, which can tell whether its answer is wrong."""


def _sent(request: Any) -> set[str]:
    """The ids that an answer may call unknown."""
    user = request.user.history if isinstance(request, pb.RecommendRequest) else ()
    return {*(each.item_id for each in user), *request.exclude_item_ids, *request.candidate_item_ids}


def _first(faults: Mapping[str, bool]) -> str | None:
    """The first that there is."""
    return next((fault for fault, found_out in faults.items() if found_out), None)


def _fault_of(generation: str, oldest: int) -> str | None:
    """What is wrong with where an answer came from."""
    number = number_of(generation)
    if number < 0:
        return "an answer that names no generation"
    return f"generation {generation} after number {oldest}" if number < oldest else None


def number_of(generation_id: str) -> int:
    """The number in the id of a generation; the newer, the larger. -1 for no such id."""
    number = generation_id.partition("-")[0].removeprefix("g")
    return int(number) if number.isdecimal() else -1


def adds_up(item: pb.Recommendation) -> bool:
    """Whether what an explanation says makes the score."""
    why = item.explanation
    parts = [each.contribution for listed in (why.history, why.genres, why.context) for each in listed]
    total = why.baseline_score + sum(parts) + why.other_contributions
    return abs(total - item.score) <= _PARTS and bool(why.sentence)
