from collections.abc import Callable
from typing import Any

import pytest

from deepmoviematch.server.errors import NotReadyError, QueryError
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.tools.lookup import connected, label, plain
from deepmoviematch.v1 import recommender_pb2 as pb


class Late:
    """Stands in for `Current`: ready after a number of requests."""

    def __init__(self, recommender: Recommender, refusals: int) -> None:
        self.recommender, self.refusals = recommender, refusals

    @property
    def serving(self) -> Serving:
        self.refusals -= 1
        if self.refusals >= 0:
            raise NotReadyError
        return Serving(self.recommender)


def test_what_is_unavailable_for_a_moment_is_asked_again(
    serve: Callable[..., Any], recommender: Recommender
) -> None:
    with serve(Late(recommender, refusals=2)) as running, connected(running.address) as client:
        assert client.similar(pb.SimilarItemsRequest(item_id="6")).results


def test_what_is_refused_is_not_asked_again(serve: Callable[..., Any], recommender: Recommender) -> None:
    late = Late(recommender, refusals=0)
    refused = pytest.raises(QueryError, match="page_size must be 0 or more, got -1; 0 means 10")
    with serve(late) as running, connected(running.address) as client, refused:
        client.recommend(pb.RecommendRequest(page_size=-1))
    assert late.refusals == -1


def test_what_people_read_obeys_nobody() -> None:
    item = pb.Recommendation(item_id="6", title="\x1b[31mRed\u202e\tand\nblue\u2028\x9b", year=1995)
    assert label(item) == "\ufffd[31mRed\ufffd and blue \ufffd (1995) [6]"
    whole = "Am\u00e9lie \u0645\u06cc\u200c\u0634\u0648\u062f \U0001f469\u200d\U0001f680 \u96e8"
    assert plain(whole) == whole
