"""What becomes of four times as many calls as a server can answer, as JSON.

    python -m tests.bench.overload --store STORE [--times 4] [--seconds 10] [--json PATH]

Capacity is what h2load gets answered with a few calls in flight; unloaded latency is that
of an open loop at a tenth of it. Then an open loop asks `--times` capacity. The question
has a history of `HISTORY` items, so that one tester can ask more than one server can answer.
Server and tester have a core each.
"""

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.client import Client, pb
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.server.tools.latency import Measurements
from deepmoviematch.server.tools.loadtest import LoadTest, arrivals
from deepmoviematch.server.tools.questions import ListCall
from deepmoviematch.server.tools.reach import Reach
from tests.bench import h2load, machine
from tests.bench.servers import LOAD_CPU, Running, serving

HISTORY, RESULTS = 1000, 10
LIMITS = {"p99_ratio": 10.0, "goodput": 0.85}


def main() -> None:
    """Measure, print, write."""
    parser = machine.parser(__doc__, seed=None)
    parser.add_argument("--store", type=Path, required=True, help="a store with a generation")
    parser.add_argument("--times", type=float, default=4.0, help="of capacity (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=10.0, help="default: %(default)g")
    parser.add_argument("--threads", type=int, default=2, help="of the server (default: %(default)s)")
    chosen = parser.parse_args()
    h2load.require()
    os.sched_setaffinity(0, {LOAD_CPU})
    with serving(chosen.store, "--log-level", "error", "--threads", str(chosen.threads)) as server:
        report = measure(server, chosen.times, chosen.seconds)
    machine.report(report, chosen.json, shown=True)


def measure(server: Running, times: float, seconds: float) -> dict[str, Any]:
    """Capacity, then a tenth of it, then `times` of it, then capacity again."""
    with Client(server.address, timeout_s=30) as client:
        popular = client.recommend(pb.RecommendRequest(page_size=HISTORY)).results
        history = [pb.Interaction(item_id=item.item_id) for item in popular]
        request = pb.RecommendRequest(user=pb.UserFeatures(history=history), page_size=RESULTS)
        size = client.recommend(request).ByteSize()
    question = ListCall("Recommend", request, RESULTS, frozenset(item.item_id for item in history))

    def capacity() -> float:
        load = h2load.drive(server, f"/{NAME}/Recommend", request, 2000, reply_bytes=size, streams=1)
        return load.requests / load.seconds

    capacity()  # warms up
    before = capacity()
    unloaded = ask(server, question, before / 10, seconds)
    memory = [server.resident_mib["rss"]]
    watcher = threading.Thread(target=watch, args=(server, memory, seconds), daemon=True)
    watcher.start()
    overloaded = ask(server, question, times * before, seconds)
    after = capacity()
    answered = np.array(overloaded.outcomes) == "OK"
    latency_ms = 1e3 * np.array(overloaded.latency_s)
    last_s = max(due + took for due, took in zip(overloaded.due_s, overloaded.latency_s, strict=True))
    p99 = {
        "unloaded": 1e3 * float(np.quantile(unloaded.latency_s, 0.99)),
        "overloaded": float(np.quantile(latency_ms[answered], 0.99)),
    }
    return {
        "capacity_per_s": [before, after],
        "asked_per_s": len(overloaded.calls) / seconds,
        "outcomes": dict(Counter(overloaded.outcomes)),
        "faults": dict(overloaded.faults),
        "goodput": int(answered.sum()) / last_s / ((before + after) / 2),
        "p99_ms": p99,
        "p99_ratio": p99["overloaded"] / p99["unloaded"],
        "refusal_ms": {
            name: float(np.quantile(latency_ms[~answered], share)) if (~answered).any() else None
            for name, share in (("p50", 0.5), ("p99", 0.99))
        },
        "sent_late_ms_p99": 1e3 * float(np.quantile(overloaded.late_s, 0.99)),
        "resident_mib": {"before": memory[0], "most": max(memory)},
        "limits": LIMITS,
    }


def ask(server: Running, question: ListCall, rate: float, seconds: float) -> Measurements:
    """An open loop at `rate`."""
    test = LoadTest(Reach(server.address), [question], connections=8)
    return test.run(list(arrivals(rate, seconds, seed=0)))


def watch(server: Running, memory: list[float], seconds: float) -> None:
    """Take the server's memory down, ten times a second."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        memory.append(server.resident_mib["rss"])
        time.sleep(0.1)


if __name__ == "__main__":
    main()
