"""Holds a batch as a whole to the bounds that recommender.proto states.

What its requests are, one by one, is for `requests` to say.
"""

from deepmoviematch.server.filtering.syntax import count_conditions
from deepmoviematch.server.ranking.explanation import MAX_EXPLAINED
from deepmoviematch.server.rpc.checks import Checks, page_limit
from deepmoviematch.v1 import recommender_pb2 as pb

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
    checks = Checks()
    if not 1 <= len(request.requests) <= MAX_REQUESTS:
        checks.refuse("requests", f"must have 1 to {MAX_REQUESTS} entries, got {len(request.requests)}")
    sizes = [page_limit(each.page_size) for each in request.requests]
    results = sum(sizes)
    if results > MAX_RESULTS:
        checks.refuse(
            "requests",
            f"must ask for at most {MAX_RESULTS} results in all, got {results}; send several batches",
        )
    explained = sum(
        min(size, MAX_EXPLAINED) for size, each in zip(sizes, request.requests, strict=True) if each.explain
    )
    if explained > MAX_RESULTS_EXPLAINED:
        checks.refuse(
            "requests",
            f"must ask for at most {MAX_RESULTS_EXPLAINED} explained results in all, got {explained}; "
            "send several batches",
        )
    items = sum(
        len(each.user.history) + len(each.exclude_item_ids) + len(each.candidate_item_ids)
        for each in request.requests
    )
    if items > MAX_ITEMS:
        checks.refuse(
            "requests",
            f"must have at most {MAX_ITEMS} interactions, excluded ids and candidates in all, "
            f"got {items}; send several batches",
        )
    filters = {each.filter for each in request.requests}
    size = sum(len(each.encode()) for each in filters)
    if size > MAX_FILTER_BYTES:  # so many would take too long even to count
        checks.refuse(
            "requests",
            f"must have at most {MAX_FILTER_BYTES} bytes in their different filters, got {size}; "
            "send several batches",
        )
    elif (conditions := sum(map(count_conditions, filters))) > MAX_CONDITIONS:
        checks.refuse(
            "requests",
            f"must have at most {MAX_CONDITIONS} conditions and stars in their different filters, "
            f"got {conditions}; send several batches",
        )
    checks.finish()
