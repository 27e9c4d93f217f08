"""When a generation is clearly worse than another, and what two of them differ in."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmoviematch.indexer.build import build
from deepmoviematch.indexer.comparison import difference, refuse_worse
from deepmoviematch.indexer.errors import WorseError
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store


def manifest(low: float, high: float, *, dataset: str = "tiny", **index: float) -> dict[str, Any]:
    """Of a generation whose ranking has this interval."""
    figure = {"mean": (low + high) / 2, "low": low, "high": high}
    metrics = {"rankings": {"towers": {"ndcg@100": figure}}}
    return {"id": "g000001-0a0a0a0a", "run": {"dataset": dataset, "metrics": metrics}, "index": index}


def test_a_ranking_whose_interval_is_below_is_refused_with_both() -> None:
    rule = (
        r"clearly worse .* of g000001-0a0a0a0a is 0\.55 \[0\.5, 0\.6\], got 0\.44 \[0\.4, 0\.48\]; .*--force"
    )
    with pytest.raises(WorseError, match=rule):
        refuse_worse(manifest(0.4, 0.48), manifest(0.5, 0.6))


def test_what_may_be_chance_is_not_refused() -> None:
    refuse_worse(manifest(0.4, 0.5), manifest(0.5, 0.6))


def test_figures_of_other_data_are_not_compared() -> None:
    refuse_worse(manifest(0.1, 0.2, dataset="books"), manifest(0.5, 0.6))


def towers(figure: object) -> dict[str, Any]:
    return {"rankings": {"towers": {"ndcg@100": figure}}}


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"rankings": {}},
        towers(0.3),
        towers({"mean": None, "low": None, "high": None}),
        towers({"mean": "a", "low": "b", "high": "c"}),
        towers({"mean": float("nan"), "low": float("nan"), "high": float("nan")}),
    ],
)
def test_without_an_interval_nothing_is_refused(metrics: dict[str, Any]) -> None:
    known = manifest(0.5, 0.6)
    unknown = deepcopy(known)
    unknown["run"]["metrics"] = metrics
    refuse_worse(unknown, known)
    refuse_worse(known, unknown)


def test_an_index_that_finds_less_is_refused() -> None:
    current = manifest(0.5, 0.6, recall_at_10=0.999, next_recall_at_10=0.99)
    refuse_worse(manifest(0.5, 0.6, recall_at_10=0.98), current)
    with pytest.raises(WorseError, match=r"next_recall_at_10 of g.* is 0\.99, got 0\.96"):
        refuse_worse(manifest(0.5, 0.6, recall_at_10=0.999, next_recall_at_10=0.96), current)


@pytest.mark.parametrize("odd", [None, "x", float("nan")])
def test_a_recall_that_is_no_number_is_not_compared(odd: Any) -> None:
    known, unknown = manifest(0.5, 0.6, recall_at_10=0.999), manifest(0.5, 0.6, recall_at_10=odd)
    refuse_worse(known, unknown)
    refuse_worse(unknown, known)


@pytest.fixture
def two(store: Store, new_run: Callable[..., Path]) -> tuple[Generation, Generation]:
    """Generations of two runs of other weights."""
    return build(new_run(seed=1), store), build(new_run(seed=2), store)


def test_a_generation_differs_from_itself_in_nothing(
    two: tuple[Generation, Generation], store: Store
) -> None:
    first, _ = two
    assert difference(first, first, store.queries(first.id)) == {
        "run": {},
        "recipe": {},
        "metrics": {},
        "index": {},
        "items": {"in all": [14, 14], "of its own": [0, 0]},
        "answers": {"of the first's 10": [1.0, 1.0]},
    }


def test_settings_figures_and_facts_that_differ_are_told_side_by_side(
    two: tuple[Generation, Generation], store: Store
) -> None:
    first, second = two
    values = deepcopy(second.manifest)
    recipe = {"name": "retrieval", "epochs": {"first": 3}}
    values["run"] |= {"seed": 7, "recipe": recipe, "metrics": {"loss": 2.5}}
    values["index"]["kind"] = "ivf"
    found = difference(first, replace(second, manifest=values), store.queries(first.id))
    assert found["run"] == {"seed": [0, 7]}
    assert found["recipe"] == {
        "dim": [first.manifest["run"]["recipe"]["dim"], None],
        "epochs.first": [None, 3],
    }
    assert found["metrics"] == {
        "new-users.ndcg": [{"mean": 0.25, "low": 0.125, "high": 0.5}, None],
        "loss": [1.5, 2.5],
    }
    assert found["index"] == {"kind": ["flat", "ivf"]}


def test_answers_are_compared_by_item_whatever_its_row(
    two: tuple[Generation, Generation], store: Store
) -> None:
    """The same towers over a catalogue that calls an item something else: nobody is told of it there."""
    first, other = two
    ids = first.catalogue.item_ids
    renamed = replace(first, catalogue=replace(first.catalogue, item_ids=(*ids[:-1], "another")))
    queries = [{"history": [[0, 5.0], [13, 4.0]], "preferences": []}]
    found = difference(first, renamed, queries)
    assert found["items"] == {"in all": [14, 14], "of its own": [1, 1]}
    [kept] = (pair[1] for pair in found["answers"].values())
    assert kept < 1
    [[_, churned]] = difference(first, other, store.queries(first.id))["answers"].values()
    assert 0 < churned < 1
