import numpy as np
import pytest

from deepmoviematch.trainer.evaluation.meter import RankingMeter


def meter(items: int) -> RankingMeter:
    """Of a catalogue whose popularity falls from row to row; even rows have genre 0, odd ones 1."""
    genres = np.arange(items)[:, None] % 2 == np.arange(2)
    return RankingMeter(genres, np.linspace(0.9, 0.0, items).astype(np.float32))


def test_an_item_out_of_the_running_is_no_hit_even_when_the_list_is_short() -> None:
    measured = meter(2)
    scores = np.array([[1.0, -np.inf]], dtype=np.float32)
    measured.add(scores, np.array([[False, True]]))
    assert measured.report().per_user["ndcg@100"] == [0]


def test_the_tail_is_all_but_the_most_popular_fifth() -> None:
    """Ten items: rows 0 and 1 are the head; one user wants row 0 and 5, one row 1 alone."""
    measured = meter(10)
    scores = np.tile(-np.arange(10, dtype=np.float32), (2, 1))
    targets = np.zeros((2, 10), dtype=np.bool_)
    targets[0, [0, 5]] = targets[1, 1] = True
    measured.add(scores, targets)
    values = measured.report().per_user["tail recall@50"]
    assert values[0] == 1
    assert np.isnan(values[1])
    assert measured.report().per_user["hit@10"].tolist() == [1, 1]


def test_a_slice_counts_the_hits_on_its_targets_alone() -> None:
    """Ten items ranked 0..9; the user wants rows 0 and 3, of which row 3 alone has genre 1."""
    genres = np.arange(10)[:, None] % 2 == np.arange(2)
    bands = {"genre": {"even": genres[:, 0], "odd": genres[:, 1]}}
    sliced = RankingMeter(genres, np.ones(10, dtype=np.float32), bands=bands, sliced="ndcg@10")
    targets = np.zeros((2, 10), dtype=np.bool_)
    targets[0, [0, 3]] = targets[1, 2] = True
    sliced.add(np.tile(-np.arange(10, dtype=np.float32), (2, 1)), targets)
    parts = sliced.report().slices["genre"]
    assert parts["even"] == pytest.approx([1, 1 / np.log2(4)])
    assert parts["odd"] == pytest.approx([1 / np.log2(5), np.nan], nan_ok=True)


def test_lists_are_measured_as_the_scores_that_they_come_from() -> None:
    rng = np.random.default_rng(2)
    ranked = rng.permuted(np.tile(np.arange(30), (8, 1)), axis=1)
    scores = np.empty((8, 30), dtype=np.float32)
    np.put_along_axis(scores, ranked, -np.arange(30, dtype=np.float32)[None], axis=1)
    targets = rng.random((8, 30)) < 0.2
    targets[:, 0] = True
    by_lists, by_scores = meter(30), meter(30)
    by_lists.add_lists(ranked, targets)
    by_scores.add(scores, targets)
    for name, values in by_scores.report().per_user.items():
        assert by_lists.report().per_user[name] == pytest.approx(values, nan_ok=True)


def test_an_unknown_item_takes_its_place_in_a_list() -> None:
    measured = meter(5)
    measured.add_lists(np.array([[-1, 2]]), np.array([[False, False, True, False, False]]))
    assert measured.report().per_user["ndcg@10"] == pytest.approx([1 / np.log2(3)])
