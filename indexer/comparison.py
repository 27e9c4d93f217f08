"""How one generation differs from another, and whether it is clearly worse.

Symbols: `Q` golden queries.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from deepmoviematch.indexer import golden
from deepmoviematch.indexer.errors import WorseError
from deepmoviematch.indexer.generation import Generation

FIGURE = ("rankings", "towers", "ndcg@100")
"""What tells of two generations which ranks better, for users whom neither was fitted on: its path in a run's
metrics."""

RECALL_LOST = 0.02
"""How much less of the true best an index may find than the one that it replaces."""

INTERVAL = {"mean", "low", "high"}
"""Keys of a metric with its confidence interval."""


def refuse_worse(new: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuse what is clearly worse than the generation that it would replace.

    That is: its ranking is worse by more than chance may be, as both intervals tell, or its indexes find
    less. Of data of another name, or where a figure is missing or no number, nothing is known, and nothing
    refused.

    Args:
        new: The manifest's part that `build.bundle` describes.
        current: The other's manifest.

    Raises:
        WorseError: If it is.
    """
    if new["run"]["dataset"] != current["run"]["dataset"]:
        return
    name, before, after = current["id"], _figure(current), _figure(new)
    if before and after and after["high"] < before["low"]:
        raise WorseError(f"{FIGURE[-1]} of {name} is {shown(before)}, got {shown(after)}")
    for key, found in new["index"].items():
        known = current["index"].get(key)
        if "recall" in key and _is_finite(found, known) and found < known - RECALL_LOST:
            raise WorseError(f"{key} of {name} is {known:.4g}, got {found:.4g}")


def difference(
    first: Generation, second: Generation, queries: Sequence[dict[str, Any]]
) -> dict[str, dict[str, list[Any]]]:
    """What differs, and how much of the first's answers the second still gives.

    Args:
        first: One generation.
        second: Another.
        queries: Q golden queries of the first.

    Returns:
        Section -> name -> what it is in the first and in the second, None where there is no such thing.
    """
    both = (first, second)
    runs = [each.manifest["run"] for each in both]
    ids = [set(each.catalogue.item_ids) for each in both]
    facts = ("dataset", "data_digest", "seed", "code_version")
    return {
        "run": _unequal(*({fact: run.get(fact) for fact in facts} for run in runs)),
        "recipe": _unequal(*(dict(leaves(run["recipe"])) for run in runs)),
        "metrics": _unequal(*(dict(leaves(run["metrics"])) for run in runs)),
        "index": _unequal(*(each.manifest["index"] for each in both)),
        "items": {
            "in all": [len(each) for each in ids],
            "of its own": [len(ids[0] - ids[1]), len(ids[1] - ids[0])],
        },
        "answers": {f"of the first's {golden.TOP}": [1.0, _kept(first, second, queries)]},
    }


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested values, named by their path; an interval is one leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value and not _is_interval(value):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def shown(value: Any) -> str:
    """A leaf for people."""
    if _is_interval(value):
        return f"{value['mean']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(manifest: Mapping[str, Any]) -> Mapping[str, float] | None:
    found: Any = manifest["run"]["metrics"]
    for key in FIGURE:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if _is_interval(found) else None


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == INTERVAL and _is_finite(*value.values())


def _is_finite(*values: Any) -> bool:
    return all(isinstance(value, int | float) and isfinite(value) for value in values)


def _unequal(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = [*first, *(name for name in second if name not in first)]
    pairs = {name: [first.get(name), second.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _kept(first: Generation, second: Generation, queries: Sequence[dict[str, Any]]) -> float:
    """The share of what the first finds for Q users that the second finds for them too.

    Items and genres that the second does not know are not told to it.
    """
    rows = {item_id: row for row, item_id in enumerate(second.catalogue.item_ids)}
    columns = {name: column for column, name in enumerate(second.catalogue.genre_names)}
    names, ids = first.catalogue.genre_names, first.catalogue.item_ids
    told = [
        {
            "history": [[rows[ids[row]], stars] for row, stars in query["history"] if ids[row] in rows],
            "preferences": [
                [columns[names[column]], stars]
                for column, stars in query["preferences"]
                if names[column] in columns
            ],
        }
        for query in queries
    ]
    found = []
    for generation, asked in ((first, queries), (second, told)):
        vectors = generation.user_tower.embed(golden.users([*asked], generation.catalogue))
        hits = generation.index.search(vectors, golden.TOP)
        found.append([{generation.catalogue.item_ids[row] for row in rows} for rows in hits.rows])
    return float(np.mean([len(one & other) / len(one) for one, other in zip(*found, strict=True)]))
