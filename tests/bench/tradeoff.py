"""What diversity, a cap for each genre, novelty and exploration cost, as tables and as JSON.

    python -m deepmoviematch.trainer fit --data DIR --recipe retrieval --set refit=false --out RUN
    python -m tests.bench.tradeoff --run RUN --data DIR [--json PATH]

The users whom the run held out are asked for at a real server, each once for each setting of
each knob, all others at rest: 80 % of a user's ratings are told, the likes among the rest are
what should be found (the protocol `new-users`). NDCG is over the first 100 and the first 10
results; intra-list diversity (mean cosine distance of a pair), mean popularity (share of the
training users who liked a result) and mean score are over the first 10. Brackets hold 95 %
bootstrap intervals over users. The run must not have seen these users (refit=false).
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.client import Client, pb
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.readers import read
from deepmoviematch.indexer.build import bundle
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.ranking.diversity import intra_list_diversity
from deepmoviematch.trainer.evaluation.bootstrap import Interval
from deepmoviematch.trainer.evaluation.meter import RankingMeter
from deepmoviematch.trainer.evaluation.protocols import Trial, held_out
from deepmoviematch.trainer.evaluation.ranking import meter_of
from deepmoviematch.trainer.experiments.wire import Units, request_of
from tests.bench import machine
from tests.bench.servers import serving

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
KNOBS: dict[str, tuple[float, ...]] = {
    "diversity.strength": STRENGTHS,
    "diversity.max_per_genre": (0, 20, 10, 5, 3, 2, 1),
    "novelty": STRENGTHS,
    "exploration.share": (0.0, 0.05, 0.1, 0.2, 0.5, 1.0),
}
FIRST = 10


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__, seed=None)
    parser.add_argument("--run", type=Path, required=True, help="a run fitted with --set refit=false")
    parser.add_argument("--data", type=Path, required=True, help="the data that it was fitted on")
    chosen = parser.parse_args()
    run, data = Run.load(chosen.run), read(chosen.data)
    trial = held_out(chosen.run, run.provenance, data)
    if trial is None:
        sys.exit(f"error: --run must have held users out, got {chosen.run}; fit it with --set refit=false")
    units = Units(data.ratings)
    asked = [request_of(trial, user, data.catalogue, units) for user in range(len(trial.users))]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        generation = Store(folder).publish(*bundle(run))
        with serving(Path(folder)) as server, Client(server.address, timeout_s=30) as client:
            for knob, settings in KNOBS.items():
                rows = [
                    {"knob": knob, "setting": setting}
                    | _measure(client, generation, trial, [_with(each, knob, setting) for each in asked])
                    for setting in settings
                ]
                _print(knob, rows)
                results += rows
    about = {name: run.provenance[name] for name in ("dataset", "seed")}
    machine.report(about | {"users": len(asked), "results": results}, chosen.json)


def _measure(client: Client, generation: Generation, trial: Trial, asked: list[Any]) -> dict[str, Any]:
    """The figures of the answers to one request for each user."""
    catalogue = generation.catalogue
    meter = meter_of(trial, catalogue)
    firsts, scores = [], []
    for user, request in enumerate(asked):
        response = client.recommend(request)
        rows = _rows(response, catalogue)
        best = np.full((1, RankingMeter.RANKS), -1, dtype=np.int64)
        best[0, : len(rows)] = rows
        meter.add_lists(best, trial.targets(user, user + 1, len(catalogue)))
        firsts.append(rows[:FIRST])
        scores.append(float(np.mean([item.score for item in response.results[:FIRST]])))
    per_user = meter.report().per_user
    values = {
        "ndcg@10": per_user["ndcg@10"],
        "ndcg@100": per_user["ndcg@100"],
        "intra_list_diversity": [intra_list_diversity(generation.directions[rows]) for rows in firsts],
        "mean_popularity": [generation.popularity[rows].mean() for rows in firsts],
        "mean_score": scores,
    }
    figures = {name: Interval.of(np.array(each, dtype=np.float32), seed=0) for name, each in values.items()}
    coverage = len({row for rows in firsts for row in rows}) / len(catalogue)
    return {"coverage@10": coverage} | {
        name: {"mean": each.mean, "low": each.low, "high": each.high} for name, each in figures.items()
    }


def _with(request: pb.RecommendRequest, knob: str, setting: float) -> pb.RecommendRequest:
    """The request with one knob turned."""
    turned = pb.RecommendRequest()
    turned.CopyFrom(request)
    *outer, name = knob.split(".")
    setattr(getattr(turned, outer[0]) if outer else turned, name, setting)
    return turned


def _rows(response: pb.RecommendResponse, catalogue: Catalogue) -> list[int]:
    return [catalogue.row_of[item.item_id] for item in response.results]


def _print(knob: str, rows: list[dict[str, Any]]) -> None:
    """One table for a knob, as Markdown."""
    names = ("ndcg@10", "ndcg@100", "intra_list_diversity", "mean_popularity", "mean_score")
    print(f"| {knob} | {' | '.join(names)} | coverage@10 |")
    print("|---" * (len(names) + 2) + "|")
    for row in rows:
        cells = [
            f"{row[name]['mean']:.3f} [{row[name]['low']:.3f}, {row[name]['high']:.3f}]" for name in names
        ]
        print(f"| {row['setting']:g} | {' | '.join(cells)} | {row['coverage@10']:.3f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
