"""Whether a score moves as its explanation says when an entry of the history is left out.

    python -m tests.bench.ablation --store STORE --data DIR [--next] [--users 50] [--json PATH]

For each length, so many users of DIR/ratings.csv with that much of a history are asked for
ten results with explanations; then each entry is left out in turn and the scores of the
same items are taken again. Figures are means over users and results: the rank correlation
within a history; how often the sign of the largest contribution is right, and those of
all that a sentence would name; and the slope through 0 of all movements over all
contributions. Towers that were fitted on these users serve here: nothing is predicted.
"""

from pathlib import Path

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.readers import read
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.indexer.towers.attribution import attribute
from tests.bench import machine

LENGTHS = (3, 5, 10, 20, 50)
RESULTS = 10
NAMED = 0.25
"""The share of the largest contribution from which on a sentence names one."""


def main() -> None:
    """Ask, leave out, ask again, print."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a generation")
    parser.add_argument("--data", type=Path, required=True, help="the data it was made from")
    parser.add_argument("--next", action="store_true", help="ask what to take next")
    parser.add_argument("--users", type=int, default=50, help="for each length (default: %(default)s)")
    chosen = parser.parse_args()
    generation, ratings = Store(chosen.store).load(), read(chosen.data).ratings
    rng = np.random.default_rng(chosen.seed)
    titles = ("history", "rank correlation", "largest sign", "named signs", " slope", "    gap")
    print(" ".join(titles))
    found = {}
    for length in LENGTHS:
        said, seen, gap = _measured(generation, ratings, length, chosen.users, rng, asks_next=chosen.next)
        found[length] = each = _figures(said, seen) | {"gap": gap}
        print(
            f"{length:>7} {each['rank_correlation']:>16.3f} {each['largest_sign']:>12.3f} "
            f"{each['named_signs']:>11.3f} {each['slope']:>6.2f} {gap:>7.4f}"
        )
    report = {"seed": chosen.seed, "users": chosen.users, "next": chosen.next, "lengths": found}
    machine.report(report, chosen.json)


def _measured(
    generation: Generation,
    ratings: Ratings,
    length: int,
    users: int,
    rng: np.random.Generator,
    *,
    asks_next: bool,
) -> tuple[Floats, Floats, float]:
    """[., length] contributions and movements, and the largest gap."""
    tower, genres = generation.user_tower, len(generation.catalogue.genre_names)
    embed = tower.embed_next if asks_next else tower.embed
    vectors = generation.index_for(asks_next=asks_next).exact.view
    enough = np.flatnonzero(np.diff(ratings.offsets) >= length)
    said, seen, gap = [], [], 0.0
    for user in rng.choice(enough, min(users, len(enough)), replace=False):
        rows = np.arange(ratings.offsets[user], ratings.offsets[user + 1])
        kept = np.sort(rng.choice(rows, length, replace=False))
        history = {int(ratings.items[row]): float(ratings.stars[row]) for row in kept}
        without = [{key: stars for key, stars in history.items() if key != gone} for gone in history]
        whole, *others = embed(UserBatch.of(genres, [{}] * (length + 1), [history, *without]))
        scores = vectors @ whole
        scores[list(history)] = -np.inf
        items = vectors[np.argsort(-scores, kind="stable")[:RESULTS]]
        parts = attribute(tower.path({}, history, asks_next=asks_next), items)
        said.append(parts.history)
        seen.append(items @ (whole - np.array(others)).T)
        gap = max(gap, float(np.abs(parts.gap).max()))
    return np.concatenate(said), np.concatenate(seen), gap


def _figures(said: Floats, seen: Floats) -> dict[str, float]:
    places = [np.argsort(np.argsort(values, axis=1), axis=1) for values in (said, seen)]
    apart = [each - each.mean(axis=1, keepdims=True) for each in places]
    norms = [np.sqrt((each**2).sum(axis=1)) for each in apart]
    right = np.sign(said) == np.sign(seen)
    sizes = np.abs(said)
    largest = sizes.max(axis=1, keepdims=True)
    return {
        "rank_correlation": float(np.mean((apart[0] * apart[1]).sum(axis=1) / (norms[0] * norms[1]))),
        "largest_sign": float(right[sizes == largest].mean()),
        "named_signs": float(right[sizes >= NAMED * largest].mean()),
        "slope": float((said * seen).sum() / (said * said).sum()),
    }


if __name__ == "__main__":
    main()
