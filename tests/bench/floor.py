"""How near the server comes to its floor, as tables and as JSON.

    python -m tests.bench.floor --store STORE [--json PATH]

The floor is a server that answers the same calls with constant bytes of the same
size: once as grpcio gives it to whoever asks for nothing in particular ("stock"), once
on the product's own threads ("own"), once on an event loop ("asyncio"). The product
answers twice: every request anew ("fresh", its kept replies switched off) and from kept
replies ("again", what it does with a request that comes again, as all but the first of
each round do here). Each server has the same core to itself in turn, and the load comes
from another (h2load). What counts is requests per second of the server's CPU time, which
others on the machine disturb little; rounds alternate between the servers, and each has
another request.
"""

import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepmoviematch.data.ratings import TOP_STARS
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.filtering.filters import Filters
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.bench import h2load, machine, synthetic
from tests.bench.servers import Running, serving, started, stub

HISTORY, K = 5, 10
SYNTHETIC_ITEMS = 10_000
TARGETS = {"Recommend": 0.85, "SimilarItems": 0.90}
TOLERANCE = 1e-6

FLOORS = {"stock": ("--stock",), "own": (), "asyncio": ("--asyncio",)}
OURS = {"fresh": 0, "again": 1000}
"""Replies that are kept."""
PROBES = 100
"""Requests whose answers are compared with exact search."""


class Amount(NamedTuple):
    """How much to measure."""

    rounds: int
    requests: int
    """To each server in each round."""


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a real generation")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=5000, help="of a round (default: %(default)s)")
    chosen = parser.parse_args()
    h2load.require()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "store"
        synthetic.publish(made, SYNTHETIC_ITEMS, seed=chosen.seed)
        for store in (chosen.store, made):
            results += measure(store, Amount(chosen.rounds, chosen.requests), chosen.seed)
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def measure(store: Path, amount: Amount, seed: int) -> list[dict[str, Any]]:
    """Both methods of the server over `store` beside both floors."""
    generation = Store(store).load()
    chance = random.Random(seed)
    results = []
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(store, kept_replies=kept)) for name, kept in OURS.items()
        }
        for method, ask in (("Recommend", rated_five), ("SimilarItems", _similar)):
            questions = [ask(generation, chance) for _ in range(PROBES)]
            results.append(_measure(servers, generation, method, questions, amount))
    return results


def _measure(
    servers: dict[str, Running], generation: Generation, method: str, questions: list[Any], amount: Amount
) -> dict[str, Any]:
    with stub(servers["fresh"]) as stubs:
        answers = [getattr(stubs, method)(question, wait_for_ready=True) for question in questions]
    sizes = [answer.ByteSize() for answer in answers]
    constant = answers[sizes.index(statistics.median_low(sizes))].SerializeToString()
    speeds: dict[str, list[float]] = {name: [] for name in (*OURS, *FLOORS)}
    with ExitStack() as stack:
        floors = {name: stack.enter_context(_floor(constant, options)) for name, options in FLOORS.items()}
        for place in range(-1, amount.rounds):  # the first warms up
            turns = [(name, server, sizes[place]) for name, server in servers.items()]
            turns += [(name, floor, len(constant)) for name, floor in floors.items()]
            for name, running, size in turns:
                path = f"/{NAME}/{method}"
                load = h2load.drive(running, path, questions[place], amount.requests, reply_bytes=size)
                if place >= 0:
                    speeds[name].append(load.requests / load.cpu_seconds)
    result = {
        "method": method,
        "items": len(generation.catalogue),
        "index": generation.index.kind,
        "reply_bytes": len(constant),
        "recall_at_10": recall(generation, questions, answers),
        "requests_per_cpu_second": {name: statistics.median(each) for name, each in speeds.items()},
        "ratio": {ours: {floor: _ratio(speeds, ours, floor) for floor in FLOORS} for ours in OURS},
        "target": TARGETS[method],
        "rounds": speeds,
    }
    _print(result)
    return result


@contextmanager
def _floor(constant: bytes, options: tuple[str, ...]) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        reply = Path(folder) / "reply"
        reply.write_bytes(constant)
        with started(["-m", "tests.bench.constant", str(reply), *options]) as running:
            yield running


def _ratio(speeds: dict[str, list[float]], ours: str, floor: str) -> float:
    """The server's speed as a share of the floor's: the median over the rounds."""
    return statistics.median(mine / theirs for mine, theirs in zip(speeds[ours], speeds[floor], strict=True))


def rated_five(generation: Generation, chance: random.Random) -> pb.RecommendRequest:
    """A user who rated five items that are not rare."""
    rows = chance.sample(generation.popular[: len(generation.popular) // 2].tolist(), HISTORY)
    scale = generation.scale
    history = [
        pb.Interaction(
            item_id=generation.catalogue.item_ids[row], rating=scale.top * chance.randint(1, 5) / TOP_STARS
        )
        for row in rows
    ]
    return pb.RecommendRequest(user=pb.UserFeatures(history=history), page_size=K)


def _similar(generation: Generation, chance: random.Random) -> pb.SimilarItemsRequest:
    return pb.SimilarItemsRequest(item_id=chance.choice(generation.catalogue.item_ids), page_size=K)


def recall(generation: Generation, questions: list[Any], answers: list[Any]) -> float:
    """Share of the true best of what may be returned that the server returned, ten at most."""
    row_of, filters = generation.catalogue.row_of, Filters(generation)
    hits = 0.0
    for question, answer in zip(questions, answers, strict=True):
        if isinstance(question, pb.RecommendRequest):
            history = question.user.history
            stars = generation.scale.stars(np.array([each.rating for each in history], dtype=np.float32))
            rated = dict(zip((row_of[each.item_id] for each in history), stars.tolist(), strict=True))
            query = generation.user_tower.embed_one({}, rated)
            vectors, out = generation.index.exact.view, list(rated)
        else:
            row = row_of[question.item_id]
            query, vectors, out = generation.directions[row], generation.directions, [row]
        scores = vectors @ query
        scores[out] = -np.inf
        if question.filter:
            scores[~filters.allowed(question.filter).flags] = -np.inf
        wanted = min(K, int(np.isfinite(scores).sum()))
        best = np.partition(scores, -wanted)[-wanted] if wanted else np.inf
        found = [row_of[each.item_id] for each in answer.results]
        hits += float(np.sum(scores[found] >= best - TOLERANCE)) / wanted if wanted else 1.0
    return hits / len(questions)


def _print(result: dict[str, Any]) -> None:
    found = f"recall@10 {result['recall_at_10']:.4f}"
    print(f"{result['method']}, {result['items']} items, {result['index']}, {found}")
    for name, shares in result["ratio"].items():
        floors = ", ".join(f"{share:.1%} of the {floor} floor's" for floor, share in shares.items())
        speed = result["requests_per_cpu_second"][name]
        print(f"  {name:<6} {speed:>6.0f} requests a CPU-second: {floors}", flush=True)


if __name__ == "__main__":
    main()
