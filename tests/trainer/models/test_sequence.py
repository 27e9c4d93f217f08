from dataclasses import replace

import numpy as np
import pytest

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.trainer.fit import fit_retrieval
from deepmoviematch.trainer.models import sequence, two_towers
from deepmoviematch.trainer.models.prefixes import later_likes, prefixes
from deepmoviematch.trainer.models.sequence import SequenceTask
from deepmoviematch.trainer.models.two_towers import TwoTowers
from deepmoviematch.trainer.recipe import RetrievalRecipe

RECIPE = RetrievalRecipe(
    name="tiny",
    embedding_dim=8,
    hidden=(16,),
    epochs=2,
    batch_size=32,
    learning_rate=0.01,
    ease_penalty=5.0,
    validation_share=0,
    dropout=0.0,
    sequence_epochs=20,
)


@pytest.fixture(scope="module")
def chain() -> Ratings:
    """60 users who take ten items in the order of the catalogue, from wherever they start."""
    users, items = np.divmod(np.arange(600), 10)
    return Ratings.from_columns(
        tuple(f"u{user}" for user in range(60)),
        users.astype(np.int32),
        ((items + users) % 30).astype(np.int32),
        np.where(items % 2, 4.0, 5.0).astype(np.float32),
        np.arange(600, dtype=np.int64),
    )


@pytest.fixture(scope="module")
def towers(catalogue: Catalogue, chain: Ratings) -> TwoTowers:
    return fit_retrieval(catalogue, chain, RECIPE).towers


def ask(towers: TwoTowers, history: list[int], *, asks_next: bool) -> list[int]:
    users = UserBatch.of(3, [{}], [dict.fromkeys(history, 5.0)], [asks_next])
    scores = towers.score(users)[0]
    scores[history] = -np.inf
    best: list[int] = np.argsort(-scores)[:4].tolist()
    return best


def test_what_comes_next_is_what_followed_in_training(towers: TwoTowers) -> None:
    for start in (0, 7, 20):
        forward = [start, start + 1, start + 2, start + 3]
        assert start + 4 in ask(towers, forward, asks_next=True)[:2]


def test_order_counts_only_for_those_who_ask(towers: TwoTowers) -> None:
    history = [7, 8, 9, 10]
    backward = history[::-1]
    assert ask(towers, history, asks_next=False) == ask(towers, backward, asks_next=False)
    assert ask(towers, history, asks_next=True) != ask(towers, backward, asks_next=True)


def test_taste_is_answered_as_if_order_had_never_been_learnt(
    towers: TwoTowers, catalogue: Catalogue, chain: Ratings
) -> None:
    plain = fit_retrieval(catalogue, chain, replace(RECIPE, sequence_epochs=0)).towers
    assert plain.order is None
    users = UserBatch.of(3, [{0: 5.0}, {}], [{3: 5.0, 9: 1.0}, {4: 4.0}])
    assert (towers.score(users) == plain.score(users)).all()


def test_users_of_one_rating_have_no_order_to_learn_from(catalogue: Catalogue, chain: Ratings) -> None:
    first = np.zeros(len(chain), dtype=np.bool_)
    first[chain.offsets[:-1]] = True
    assert fit_retrieval(catalogue, chain.take(first), RECIPE).towers.order is None


def test_without_times_order_is_not_learnt(catalogue: Catalogue, chain: Ratings) -> None:
    timeless = Ratings(chain.user_ids, chain.users, chain.items, chain.ratings, None)
    assert fit_retrieval(catalogue, timeless, RECIPE).towers.order is None


def test_a_batch_knows_what_came_before_and_asks_for_the_next_like(towers: TwoTowers, chain: Ratings) -> None:
    task = SequenceTask(towers, chain, RECIPE)
    _, rows, weights, items, _, seen, following = next(task.batches(0))
    assert items.tolist() == list(range(30))  # so columns are rows
    assert len(following) == 4 * RECIPE.batch_size
    for row, item in enumerate(following):
        known = rows[row][weights[row].any(axis=1)]
        assert item == (known[0] + 1) % 30
        assert set(seen[seen[:, 0] == row, 1]) == set(known)


@pytest.mark.parametrize(("said", "drawn"), [(0, 6), (9, 9)], ids=["by default", "as the recipe says"])
def test_a_step_draws_as_many_items_as_the_recipe_says(
    towers: TwoTowers, chain: Ratings, monkeypatch: pytest.MonkeyPatch, said: int, drawn: int
) -> None:
    monkeypatch.setattr(sequence, "DRAWN", 6)
    task = SequenceTask(towers, chain, replace(RECIPE, softmax_items=said, batch_size=1))
    for _, _, _, items, correction, *_ in task.batches(0):
        asked = 4 * task._recipe.batch_size
        assert (correction == 0).sum() <= asked < len(items) <= asked + drawn
    assert task._candidates.chances.sum() == pytest.approx(drawn)


@pytest.mark.parametrize("block", [65_536, 25, 3], ids=["one block", "two users each", "less than a user"])
def test_tastes_before_each_like_are_those_of_the_histories_cut_there(
    towers: TwoTowers, chain: Ratings, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(two_towers, "BLOCK", block)
    mixed = replace(chain, ratings=np.where(chain.items % 3, chain.ratings, 1.0).astype(np.float32))
    for ratings in (mixed, chain):  # and likes alone, more than a few
        asked = later_likes(ratings)
        expected = towers.embed_users(prefixes(ratings, asked, genres=3))
        assert towers.embed_prefixes(ratings, asked) == pytest.approx(expected, abs=1e-6)


def test_no_more_tastes_are_kept_than_the_epochs_can_ask_for(
    towers: TwoTowers, chain: Ratings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "MOST_ASKED", 100)
    task = SequenceTask(towers, chain, replace(RECIPE, sequence_epochs=2))
    asked = [len(batch[-1]) for epoch in range(2) for batch in task.batches(epoch)]
    assert sum(asked) == 200 == len(task.tastes)


def test_the_transitions_weigh_as_much_as_the_recipe_says(towers: TwoTowers, chain: Ratings) -> None:
    """At weight 1 both parts of a score spread alike, over the prefixes that it was fitted on."""
    order = SequenceTask(towers, chain, replace(RECIPE, transition_weight=1.0)).order()
    users = prefixes(chain, later_likes(chain), genres=3)
    embedded, items = order.embed(towers.embed_users(users), users), towers.item_vectors()
    width = items.shape[1]
    ours, theirs = embedded[:, :width] @ items.T, embedded[:, width:] @ order.markov.items.T
    assert theirs.std() == pytest.approx(ours.std(), rel=1e-4)
