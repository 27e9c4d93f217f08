"""The server beside what one might put in its place, as a table and as JSON.

    python -m tests.bench.alternatives --store STORE [--json PATH]

Every alternative answers the same `Recommend` calls (five rated items, ten results) with
the same number of results, behind a plain gRPC server on the same core, asked by the
same client on another. The towers are Keras models of the exercise's shape (genre
averages in, 256, 128 and 32 wide); their weights are random, for only time counts here:

    pairs       the exercise's own way: the user repeated for every item, and
                `predict` on the pairs, both towers
    predict     `predict` on the user tower, then every item compared in NumPy
    function    the user tower as a compiled `tf.function`, then the same
    milvus      the product's own user tower, then a search by Milvus: by Milvus Lite, which
                shares the process, or by the server at `--milvus`, whose CPU time is not counted

Milvus needs `pip install pymilvus milvus-lite`, which nothing else here does.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.features import genre_means
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.generation import Generation
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.v1 import recommender_pb2 as pb
from tests.bench import machine
from tests.bench.servers import Running, listen, serving, started, stub

WAYS = ("pairs", "predict", "function", "milvus")
K, HISTORY, WIDTHS = 10, 5, (256, 128, 32)
AT_ONCE = 8


def main() -> None:
    """Measure, print, write; or serve one of the alternatives."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a real generation")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each (default: %(default)g)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: all")
    parser.add_argument("--milvus", default="", help="address of a server (default: Milvus Lite)")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    generation = Store(chosen.store).load()
    if chosen.serve:
        with tempfile.TemporaryDirectory() as folder:
            milvus = chosen.milvus or str(Path(folder) / "milvus.db")
            _serve(_rank(chosen.serve, generation, milvus), generation)
        return
    requests = [_request(generation, random.Random(chosen.seed + number)) for number in range(100)]
    results = []
    print(f"{'':<10} {'alone: p50 ms':>13} {'p99 ms':>8} {'8 at once: requests/s':>22} {'per CPU-s':>10}")
    for name in ("server", *chosen.ways):
        with _started(name, chosen.store, chosen.milvus) as running:
            result = {"name": name, **_measure(running, requests, chosen.seconds)}
        results.append(result)
        print(
            f"{name:<10} {result['p50_ms']:>13.2f} {result['p99_ms']:>8.2f} "
            f"{result['requests_per_second']:>22.0f} {result['requests_per_cpu_second']:>10.0f}",
            flush=True,
        )
    machine.report({"seed": chosen.seed, "results": results}, chosen.json)


def _started(name: str, store: Path, milvus: str) -> AbstractContextManager[Running]:
    if name == "server":
        return serving(store)
    return started(
        ["-m", "tests.bench.alternatives", "--store", str(store), "--milvus", milvus, "--serve", name]
    )


def _measure(running: Running, requests: list[pb.RecommendRequest], seconds: float) -> dict[str, float]:
    with stub(running) as stubs:
        for request in requests[:3]:
            answer = stubs.Recommend(request, wait_for_ready=True)
            if len(answer.results) != K:
                sys.exit(f"every way must give {K} results, got {len(answer.results)}")
        alone: list[float] = []
        until = time.perf_counter() + seconds / 2
        while time.perf_counter() < until or len(alone) < 10:
            start = time.perf_counter()
            stubs.Recommend(requests[len(alone) % len(requests)])
            alone.append(1e3 * (time.perf_counter() - start))
        used, start, done = running.cpu_seconds, time.perf_counter(), 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while time.perf_counter() - start < seconds / 2:
                done += sum(1 for _ in pool.map(stubs.Recommend, requests[: 4 * AT_ONCE]))
        wall, used = time.perf_counter() - start, running.cpu_seconds - used
    return {
        "p50_ms": statistics.median(alone),
        "p99_ms": float(np.percentile(alone, 99)),
        "requests_per_second": done / wall,
        "requests_per_cpu_second": done / used,
    }


def _request(generation: Generation, chance: random.Random) -> pb.RecommendRequest:
    rows = chance.sample(range(len(generation.catalogue)), HISTORY)
    history = [pb.Interaction(item_id=generation.catalogue.item_ids[row], rating=4) for row in rows]
    return pb.RecommendRequest(user=pb.UserFeatures(history=history), page_size=K)


def _tower(inputs: int, name: str) -> Any:
    import keras  # noqa: PLC0415 - only the alternatives need it

    layers = [keras.layers.Dense(width, activation="relu") for width in WIDTHS[:-1]]
    return keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(WIDTHS[-1])], name=name)


_Score = Callable[[Floats], Floats]
_Rank = Callable[[pb.RecommendRequest], list[tuple[int, float]]]
"""The best rows for a request and their scores, best first."""


def _by_pairs(generation: Generation) -> _Score:
    import keras  # noqa: PLC0415

    items = generation.catalogue.genres.astype(np.float32)
    user, item = (_tower(items.shape[1], name) for name in ("user", "item"))
    inputs = [keras.Input((items.shape[1],)), keras.Input((items.shape[1],))]
    unit = keras.layers.UnitNormalization()
    both = keras.Model(inputs, keras.layers.Dot(1)([unit(user(inputs[0])), unit(item(inputs[1]))]))
    return lambda features: both.predict([np.repeat(features, len(items), 0), items], verbose=0)[:, 0]


def _by_predict(generation: Generation) -> _Score:
    user = _tower(generation.catalogue.genres.shape[1], "user")
    vectors = np.random.default_rng(0).normal(size=(len(generation.catalogue), WIDTHS[-1]))
    return lambda features: vectors @ user.predict(features, verbose=0)[0]


def _by_function(generation: Generation) -> _Score:
    import tensorflow as tf  # noqa: PLC0415

    genres = generation.catalogue.genres.shape[1]
    user = _tower(genres, "user")
    embed = tf.function(user).get_concrete_function(tf.TensorSpec([1, genres], tf.float32))
    vectors = np.random.default_rng(0).normal(size=(len(generation.catalogue), WIDTHS[-1]))
    return lambda features: vectors @ embed(tf.constant(features))[0].numpy()


def _by_scores(generation: Generation, score: _Score) -> _Rank:
    def rank(request: pb.RecommendRequest) -> list[tuple[int, float]]:
        rated = _rated(generation, request)
        users = UserBatch.of(len(generation.catalogue.genre_names), [{}], [rated])
        scores = score(np.nan_to_num(genre_means(users, generation.catalogue.genres)))
        scores[list(rated)] = -np.inf
        return [(int(row), float(scores[row])) for row in np.argsort(-scores)[:K]]

    return rank


def _by_milvus(generation: Generation, uri: str) -> _Rank:
    from pymilvus import MilvusClient  # noqa: PLC0415

    client, name = MilvusClient(uri), "alternatives"
    client.drop_collection(name)
    client.create_collection(name, dimension=generation.index.dim, metric_type="IP", auto_id=False)
    vectors = generation.index.exact.view
    for first in range(0, len(vectors), 1000):
        rows = range(first, min(first + 1000, len(vectors)))
        client.insert(name, [{"id": row, "vector": vectors[row].tolist()} for row in rows])
    client.flush(name)
    client.load_collection(name)

    def rank(request: pb.RecommendRequest) -> list[tuple[int, float]]:
        rated = _rated(generation, request)
        vector = generation.user_tower.embed_one({}, rated)
        [hits] = client.search(name, [vector.tolist()], limit=K + len(rated), output_fields=[])
        found = [(int(hit["id"]), float(hit["distance"])) for hit in hits]
        return [hit for hit in found if hit[0] not in rated][:K]

    return rank


def _rank(way: str, generation: Generation, milvus: str) -> _Rank:
    if way == "milvus":
        return _by_milvus(generation, milvus)
    by = {"pairs": _by_pairs, "predict": _by_predict, "function": _by_function}[way]
    return _by_scores(generation, by(generation))


def _rated(generation: Generation, request: pb.RecommendRequest) -> dict[int, float]:
    """Row -> stars."""
    return {generation.catalogue.row_of[each.item_id]: each.rating for each in request.user.history}


def _serve(rank: _Rank, generation: Generation) -> None:
    catalogue = generation.catalogue

    def recommend(request: pb.RecommendRequest, context: grpc.ServicerContext) -> pb.RecommendResponse:
        return pb.RecommendResponse(
            results=[
                pb.Recommendation(
                    item_id=catalogue.item_ids[row],
                    score=score,
                    rank=place,
                    title=catalogue.titles[row],
                    year=int(catalogue.years[row]),
                    genres=catalogue.genres_of(row),
                )
                for place, (row, score) in enumerate(rank(request), start=1)
            ]
        )

    handler: Any = grpc.unary_unary_rpc_method_handler(
        recommend,
        request_deserializer=pb.RecommendRequest.FromString,
        response_serializer=pb.RecommendResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_registered_method_handlers(NAME, {"Recommend": handler})
    listen(server)


if __name__ == "__main__":
    main()
