"""What it would add to let a history fade, as a table and as JSON.

    python -m tests.bench.recency --data DIR [--splits 5] [--json PATH]

The default recipe is fitted on the splits of `time` and on `next-item`; then its tower is
asked in other ways, without training it again: in the bag of likes each counts
2^(-age / half-life), by days or by how many likes came after it. Differences are to the same
tower asked plainly, with 95 % bootstrap intervals over users.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np

from deepmoviematch.data.arrays import Flags, Floats, Ints, Longs
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.features import LIKE_STARS
from deepmoviematch.data.readers import read
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.towers import item_tower, taste_towers, user_tower
from deepmoviematch.indexer.towers.taste_path import Tables
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.protocols import PROTOCOLS, Trial
from deepmoviematch.trainer.evaluation.ranking import rank
from deepmoviematch.trainer.fit import fit_retrieval
from deepmoviematch.trainer.quiet import import_tensorflow
from deepmoviematch.trainer.recipe import RetrievalRecipe, load_recipe
from tests.bench import machine

METRICS = ("ndcg@10", "hit@10")
DAYS = (1, 30, 365)
LIKES = (5, 20, 80)

Ages: TypeAlias = Callable[[UserBatch, Longs], Floats]


@dataclass(frozen=True)
class Way:
    """One way to ask."""

    ages: Ages | None = None
    """[H] ages of the interactions in half-lives."""

    asks_next: bool = False


def main() -> None:
    """Fit, ask, print, write."""
    parser = machine.parser(__doc__, seed=1)
    parser.add_argument("--data", type=Path, required=True, help="a data set with times")
    parser.add_argument("--splits", type=int, default=5, help="of `time` (default: %(default)s)")
    chosen = parser.parse_args()
    import_tensorflow()
    dataset = read(chosen.data)
    results = {
        name: _measure(dataset, name, splits, chosen.seed)
        for name, splits in (("time", chosen.splits), ("next-item", 1))
    }
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def _measure(dataset: Dataset, name: str, splits: int, seed: int) -> dict[str, Any]:
    """Every way to ask, on the splits of a protocol."""
    found: dict[str, dict[str, list[Floats]]] = {}
    persons: list[str] = []
    for fold in range(splits):
        trial = PROTOCOLS[name].split(dataset.catalogue, dataset.ratings, seed, fold)
        persons += trial.user_ids
        recipe = load_recipe("retrieval", {})
        assert isinstance(recipe, RetrievalRecipe)
        recipe = replace(recipe, seed=recipe.seed + fold, validation_share=0.0)
        towers = fit_retrieval(dataset.catalogue, trial.train, recipe).towers.export()
        for label, way in WAYS.items():
            report = rank(Asked(dataset, trial, towers, way), trial, dataset.catalogue)
            for metric in METRICS:
                found.setdefault(label, {}).setdefault(metric, []).append(report.per_user[metric])
    numbers = np.unique(persons, return_inverse=True)[1]
    print(f"{name}: {len(persons)} asked, {len(set(persons))} persons")
    table: dict[str, Any] = {"asked": len(persons), "persons": len(set(persons))}
    for label, metrics in found.items():
        texts = []
        for metric, values in metrics.items():
            ours, plain = np.concatenate(values), np.concatenate(found["taste"][metric])
            mean = float(ours.mean())
            gain = Interval.of_difference(ours, plain, seed=seed, persons=numbers)
            table.setdefault(label, {})[metric] = {"mean": mean, "difference": asdict(gain)}
            texts.append(f"{metric} {mean:.4f} ({gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}])")
        print(f"  {label:<24} {'   '.join(texts)}", flush=True)
    return table


class Asked:
    """A tower that is asked in some way; `rank` takes it for a model."""

    def __init__(self, dataset: Dataset, trial: Trial, towers: tuple[Any, Any], way: Way) -> None:
        self._way, self._first = way, 0
        self._user, items = user_tower(towers[0]), item_tower(towers[1])
        self._vectors = (items.embed_next if way.asks_next else items.embed)(dataset.catalogue)
        ratings, size = dataset.ratings, len(dataset.catalogue)
        number = {user_id: row for row, user_id in enumerate(ratings.user_ids)}
        self._users = np.array([number[user_id] for user_id in trial.user_ids], dtype=np.int64)
        codes = ratings.users.astype(np.int64) * size + ratings.items
        self._order, self._size = np.argsort(codes), size
        assert ratings.timestamps is not None
        self._codes, self._times = codes[self._order], ratings.timestamps[self._order]

    def score(self, users: UserBatch) -> Floats:
        """See `Ranker.score`; blocks of users come in their order."""
        block = slice(self._first, self._first + len(users))
        self._first += len(users)
        times = self._when(self._users[block][users.owners], users.items)
        with nullcontext() if self._way.ages is None else _weighted(2.0 ** -self._way.ages(users, times)):
            vectors = (self._user.embed_next if self._way.asks_next else self._user.embed)(users)
        scores: Floats = vectors @ self._vectors.T
        return scores

    def _when(self, users: Longs, items: Ints) -> Longs:
        return self._times[np.searchsorted(self._codes, users * self._size + items)]


@contextmanager
def _weighted(weights: Floats) -> Iterator[None]:
    """Has the taste tower's bags of likes weigh each interaction by `weights` [H]; they keep length 1."""

    def bags(kind: Tables, users: UserBatch, chosen: Flags) -> Tables:
        owners, items = users.owners[chosen], users.items[chosen]
        shares = np.where(users.stars[chosen] >= LIKE_STARS, weights[chosen], 1)
        squares = np.bincount(owners, shares**2, minlength=len(users))
        roots = np.sqrt(np.where(squares > 0, squares, 1))[:, None]

        def bag(table: Floats) -> Floats:
            sums = np.zeros((len(users), table.shape[1]))
            np.add.at(sums, owners, table[items] * shares[:, None])
            return (sums / roots).astype(np.float32)

        return Tables(*map(bag, kind))

    with mock.patch.object(taste_towers, taste_towers._bags.__name__, bags):
        yield


def _days(users: UserBatch, times: Longs, half_life: float) -> Floats:
    """Age before the user's last like; when the request comes makes no difference."""
    liked = users.stars >= LIKE_STARS
    last = np.zeros(len(users), dtype=np.int64)
    np.maximum.at(last, users.owners[liked], times[liked])
    ages: Floats = (np.maximum(last[users.owners] - times, 0) / 86_400 / half_life).astype(np.float32)
    return ages


def _likes_after(users: UserBatch, _: Longs, half_life: float) -> Floats:
    likes = np.concatenate([[0], np.cumsum(users.stars >= LIKE_STARS)])
    ages: Floats = ((likes[users.offsets[1:]][users.owners] - likes[1:]) / half_life).astype(np.float32)
    return ages


WAYS = {
    "taste": Way(),
    "next": Way(asks_next=True),
    **{f"recency, {days} days": Way(partial(_days, half_life=days)) for days in DAYS},
    **{f"recency, {likes} likes": Way(partial(_likes_after, half_life=likes)) for likes in LIKES},
}
"""By label; first what the others are compared with."""


if __name__ == "__main__":
    main()
