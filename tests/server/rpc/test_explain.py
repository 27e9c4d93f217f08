"""Reasons over a real socket."""

from types import SimpleNamespace

import pytest

from deepmoviematch.v1 import recommender_pb2 as pb
from tests.server.rpc.messages import ids, seen


def test_results_are_explained_on_demand(running: SimpleNamespace) -> None:
    asked = seen("6", "183", page_size=20)
    asked.user.genre_preferences["comedy"] = 1
    plain = running.stub.Recommend(asked)
    assert not any(item.HasField("explanation") for item in plain.results)
    asked.explain = True
    response = running.stub.Recommend(asked)
    for item in response.results:
        why = item.explanation
        parts = [each.contribution for each in (*why.history, *why.genres)]
        assert {each.item_id: each.title for each in why.history} == {"6": "Heat", "183": "Alien"}
        assert [each.genre for each in why.genres] == ["Comedy"]
        total = why.baseline_score + sum(parts) + why.other_contributions + why.gap
        assert total == pytest.approx(item.score, abs=1e-5)
        assert why.score == pytest.approx(item.score, abs=1e-5)
        assert abs(why.gap) <= 1e-3
        assert why.nearest_like.title == {"6": "Heat", "183": "Alien"}[why.nearest_like.item_id]
        assert set(why.shared_genres) <= {*item.genres}
        assert why.sentence.endswith(".")
        item.ClearField("explanation")
    assert response == plain


def test_asking_for_reasons_draws_no_other_chance(running: SimpleNamespace) -> None:
    chance = pb.Exploration(share=0.8, seed=3)
    plain = running.stub.Recommend(seen("6", page_size=20, exploration=chance))
    explained = running.stub.Recommend(seen("6", page_size=20, exploration=chance, explain=True))
    assert ids(explained) == ids(plain) != ids(running.stub.Recommend(seen("6", page_size=20)))
    assert all(item.explanation.score == pytest.approx(item.score, abs=1e-5) for item in explained.results)


def test_a_batch_explains_as_single_calls_do(running: SimpleNamespace) -> None:
    asked = [
        seen("6", "183", explain=True),
        seen("6", "183"),
        pb.RecommendRequest(explain=True),
        seen("50", page_size=3, explain=True, intent=pb.INTENT_NEXT),
        seen("50", explain=True, validate_only=True),
    ]
    responses = running.stub.BatchRecommend(pb.BatchRecommendRequest(requests=asked)).responses
    assert [*responses] == [running.stub.Recommend(request) for request in asked]
    explained = [any(item.HasField("explanation") for item in each.results) for each in responses]
    assert explained == [True, False, True, True, False]


def test_a_second_page_is_explained_too(running: SimpleNamespace) -> None:
    whole = running.stub.Recommend(seen("6", page_size=6, explain=True)).results[3:]
    asked = seen("6", page_size=3, explain=True)
    asked.page_token = running.stub.Recommend(asked).next_page_token
    for item, expected in zip(running.stub.Recommend(asked).results, whole, strict=True):
        assert (item.item_id, item.rank) == (expected.item_id, expected.rank)
        [part], [expected_part] = item.explanation.history, expected.explanation.history
        assert part.contribution == pytest.approx(expected_part.contribution, abs=2e-3)
