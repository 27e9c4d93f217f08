"""Holds a batch as a whole to the bounds that recommender.proto states.

What its requests are, one by one, is for `requests` to say.
"""

from deepmoviematch.server.filtering.syntax import count_conditions
from deepmoviematch.server.ranking.explanation import MAX_EXPLAINED
from deepmoviematch.server.rpc.checks import Checks, page_limit
from deepmoviematch.v1 import recommender_pb2 as pb

BATCH_METHODS = {"BatchRecommend"}
"""Those that take a batch, one of which may take as long as hundreds of calls."""

MAX_REQUESTS = 256
MAX_RESULTS = 20_000
MAX_ITEMS = 100_000
"""Interactions, excluded ids and candidates."""

MAX_RESULTS_EXPLAINED = 1000
MAX_FILTER_BYTES = 40_000
MAX_CONDITIONS = 500
"""Of all filters; one that is repeated counts once."""


def check_batch(request: pb.BatchRecommendRequest) -> None:
    """Hold a batch as a whole to its bounds; its requests are read one by one.

    Raises:
        InvalidRequestError: If the batch is empty or too large.
    """
    checks, requests = Checks(), request.requests
    if not 1 <= len(requests) <= MAX_REQUESTS:
        checks.refuse("requests", f"must have 1 to {MAX_REQUESTS} entries, got {len(requests)}")
    sizes = [page_limit(each.page_size) for each in requests]
    explained = [size for size, each in zip(sizes, requests, strict=True) if each.explain]
    filters = {each.filter for each in requests}
    filter_bytes = sum(len(each.encode()) for each in filters)
    for most, what, found in (
        (MAX_RESULTS, "results", sum(sizes)),
        (MAX_RESULTS_EXPLAINED, "explained results", sum(min(size, MAX_EXPLAINED) for size in explained)),
        (
            MAX_ITEMS,
            "interactions, excluded ids and candidates",
            sum(
                len(each.user.history) + len(each.exclude_item_ids) + len(each.candidate_item_ids)
                for each in requests
            ),
        ),
        (MAX_FILTER_BYTES, "bytes of different filters", filter_bytes),
        (
            MAX_CONDITIONS,
            "conditions and stars of different filters",
            # More bytes would take too long even to count.
            sum(map(count_conditions, filters)) if filter_bytes <= MAX_FILTER_BYTES else 0,
        ),
    ):
        if found > most:
            rule = f"must have at most {most} {what} in all, got {found}; send several batches"
            checks.refuse("requests", rule)
    checks.finish()
