"""What the trainer's command line prints for people."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as RichTable

from deepmoviematch.trainer.words import counted

if TYPE_CHECKING:  # the command line imports what it needs once its arguments are known to be good
    from deepmoviematch.trainer.experiments.exercise import Listing
    from deepmoviematch.trainer.experiments.table import Table


def print_fit(metrics: Mapping[str, Any], run: Path) -> None:
    """What a fit measured, and where its `run` is."""
    from deepmoviematch.trainer.reports.card import gain_text  # noqa: PLC0415 - see above

    if metrics["protocol"] == "rating":
        print(f"test MSE {metrics['test_mse']:.4f} in scaled units, over {counted(metrics['rows'], 'row')}")
    if metrics["protocol"] == "new-users" and not metrics["users"]:
        print(
            "nobody was held out to measure the ranking: too few users like enough, or the recipe wants none"
        )
    for name, ranking in metrics.get("rankings", {}).items():
        best = ranking["ndcg@100"]
        print(
            f"{name:<10} NDCG@100 {best['mean']:.3f} [{best['low']:.3f}, {best['high']:.3f}]  "
            f"Recall@20 {ranking['recall@20']['mean']:.3f}  on {counted(metrics['users'], 'validation user')}"
        )
    for name, figures in metrics.get("moments", {}).items():
        print(f"{name:<10} {gain_text(figures)}")
    if metrics.get("refit_on_everyone"):
        epochs = counted(metrics["epochs"], "epoch")
        print(f"then fitted again on everyone, for {epochs}: these towers are published")
    print(f"run written to {run} (read card.md first; curves.png, map.png)")


def print_measure(found: dict[str, Any]) -> None:
    """What `experiments.neighbours` found of items that share no genre."""
    learnt = "the vectors have learnt nothing from" if found["unseen"] else "the vectors have learnt from"
    items, users = counted(found["items"], "item"), counted(found["users"], "user")
    print(f"{items} with enough likes of {users}, whom {learnt}")
    apart = found["apart"]
    print(
        f"share of an item's neighbours without a genre in common: {_text(apart['neighbours'])}, "
        f"of the catalogue: {_text(apart['catalogue'])}; "
        f"items with such a neighbour: {_text(found['some_apart'])}"
    )
    print_rows(
        ("pairs of items", "pairs", "liked by the same people, over chance"),
        [(kind, found["pairs"][kind], lift) for kind, lift in found["lift"].items()],
    )
    print(f"neighbours over random pairs without a genre in common: {_text(found['ratio'])}")


def print_table(table: "Table", *, slices: bool = False) -> None:
    """The protocol's header, a row for every model, the notes; then the slices if asked."""
    unsaid = {"recipe", "settled", "data_digest", "dropped", "best_peer"}
    about = {key: value for key, value in table.about.items() if key not in unsaid}
    print("  ".join(f"{key}: {_text(value)}" for key, value in about.items()))
    for sentence in table.about["dropped"]:
        print(f"note: {sentence}")
    columns = list(dict.fromkeys(name for figures in table.rows.values() for name in figures))
    print_rows(
        ("model", *columns),
        [(name, *(figures.get(column, "") for column in columns)) for name, figures in table.rows.items()],
    )
    for note in table.notes:
        print(f"note: {note}")
    for settings in dict.fromkeys(map(_settings, table.about.get("settled", ()))):
        print(f"note: fitted with {settings}")
    if slices:
        _print_slices(table)
    if table.honest is not None:
        print("\nthe same with each user and item once, and features from the training rows alone:")
        print_table(table.honest)
    print()


def _settings(settled: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settled.items())


def _print_slices(table: "Table") -> None:
    """The deciding metric of every model in every slice, a table for each kind of slice."""
    models = {name: details["slices"] for name, details in table.details.items()}
    for kind, labels in next(iter(models.values()), {}).items():
        print(f"\nby {kind}")
        print_rows(
            (kind, "users", *models),
            [
                (label, figures["users"], *(slices[kind][label] for slices in models.values()))
                for label, figures in labels.items()
            ],
        )


def print_listing(listing: "Listing") -> None:
    """A listing of the exercise: its title and its rows."""
    print(f"\n{listing.title}")
    print_rows(listing.columns, listing.rows)


def print_rows(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """A table as wide as it needs to be, on a terminal too: folded cells break words and numbers."""
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numbers = all(not isinstance(row[columns.index(column)], str) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    Console(width=400).print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        mean, low, high = (
            f"{value[bound]:.4f}" if math.isfinite(value[bound]) else "-" for bound in ("mean", "low", "high")
        )
        return f"{mean} [{low}, {high}]" if mean != "-" else mean
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else "-"
