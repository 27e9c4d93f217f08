"""What a load test measured: one row a call, quantiles, a picture."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from deepmoviematch.data.arrays import Doubles
from deepmoviematch.server.tools.tables import console

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


@dataclass
class Measurements:
    """Every call of a run: when it was due, how it ended, how long it took from then."""

    calls: list[str] = field(default_factory=list)
    due_s: list[float] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    """"OK", "WRONG" or the name of a status code."""

    latency_s: list[float] = field(default_factory=list)
    """From when the call was due, so that a stall of the server or of the test shows."""

    late_s: list[float] = field(default_factory=list)
    """Between when a call was due and when it was sent: the test's own fault."""

    faults: Counter[str] = field(default_factory=Counter)
    """What was wrong with answers, and with how many."""

    generations: Counter[str] = field(default_factory=Counter)
    """How many answers came from which."""

    def add(self, call: str, due_s: float, outcome: str, latency_s: float, late_s: float) -> None:
        """Take one call down."""
        self.calls.append(call)
        self.due_s.append(due_s)
        self.latency_s.append(latency_s)
        self.late_s.append(late_s)
        self.outcomes.append(outcome)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Everything a program may want, by call and in all."""
        calls, outcomes = np.array(self.calls), np.array(self.outcomes)
        latency_ms = 1e3 * np.array(self.latency_s)
        rows = {call: calls == call for call in sorted(set(self.calls))}
        rows["all"] = np.full(len(calls), True)
        return {
            "calls": {
                name: {
                    "asked": int(chosen.sum()),
                    "outcomes": dict(Counter(outcomes[chosen].tolist())),
                    "latency_ms": _quantiles(latency_ms[chosen & (outcomes == "OK")]),
                }
                for name, chosen in rows.items()
            },
            "seconds": round(seconds, 3),
            "answered_per_s": round(self.outcomes.count("OK") / seconds, 1),
            "sent_late_ms": _quantiles(1e3 * np.array(self.late_s)),
            "faults": dict(self.faults),
            "generations": dict(sorted(self.generations.items())),
        }

    def draw(self, path: Path, title: str) -> None:
        """Draw latencies over time and their distribution.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        from matplotlib.figure import Figure  # noqa: PLC0415 - a serving machine need not have it

        answered = np.array(self.outcomes) == "OK"
        due, latency_ms = np.array(self.due_s), 1e3 * np.array(self.latency_s)
        figure = Figure(figsize=(11, 4), layout="constrained")
        over_time, spread = figure.subplots(1, 2)
        over_time.plot(due[answered], latency_ms[answered], ".", markersize=1.5, label="answered")
        if not answered.all():
            over_time.plot(due[~answered], latency_ms[~answered], "x", markersize=3, label="not answered")
        over_time.set(xlabel="due at, s", ylabel="latency from then, ms", yscale="log")
        over_time.legend(loc="upper right")
        for call in sorted(set(self.calls)):
            times = np.sort(latency_ms[answered & (np.array(self.calls) == call)])
            if len(times):
                rest = 1 - np.arange(len(times)) / len(times)  # share of calls that took as long
                spread.plot(times, rest, drawstyle="steps", label=call)
        spread.set(xlabel="latency, ms", ylabel="share that took longer", xscale="log", yscale="log")
        spread.legend()
        figure.suptitle(title)
        figure.savefig(path, dpi=120)


def print_summary(summary: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)  # to fit a terminal of 80 columns
    table.add_column("call", no_wrap=True, min_width=max(map(len, summary["calls"])))
    for name in ("asked", "answered", "refused", "failed", "wrong", *QUANTILES):
        table.add_column(name, justify="right", no_wrap=True)
    for call, row in summary["calls"].items():
        counts = outcome_counts(row["outcomes"])
        times = [f"{row['latency_ms'][name]:.1f}" if row["latency_ms"] else "" for name in QUANTILES]
        table.add_row(call, f"{row['asked']:,}", *(f"{count:,}" for count in counts.values()), *times)
    out = console()
    out.print(table)
    out.print("latencies in ms, from when a call was due", soft_wrap=True)
    for fault, count in summary["faults"].items():
        out.print(f"{count:,} times: {fault}", soft_wrap=True)


def outcome_counts(outcomes: dict[str, int]) -> dict[str, int]:
    """How many calls were answered, refused, failed and answered wrongly."""
    counts = {"answered": outcomes.get("OK", 0), "refused": outcomes.get("RESOURCE_EXHAUSTED", 0)}
    wrong = outcomes.get("WRONG", 0)
    return {**counts, "failed": sum(outcomes.values()) - sum(counts.values()) - wrong, "wrong": wrong}


def _quantiles(values: Doubles) -> dict[str, float]:
    """Empty for no values."""
    if not len(values):
        return {}
    found = np.quantile(values, list(QUANTILES.values()), method="higher")
    return {name: round(float(value), 3) for name, value in zip(QUANTILES, found, strict=True)}
