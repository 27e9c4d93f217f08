"""What the command line prints for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from deepmoviematch.indexer.comparison import leaves, shown
from deepmoviematch.indexer.experiments import Experiment
from deepmoviematch.indexer.generation import Generation


def print_built(generation: Generation, seconds: float) -> None:
    """Say what a build has published and how long it took."""
    facts = summary(generation.manifest)
    rows = {
        "generation": facts["id"],
        "items": f"{facts['items']:,}",
        "vectors": f"{facts['dim']}-d, {facts['index']} index",
        "size": _bytes(facts["bytes"]),
        "built in": f"{seconds:.1f} s",
        **{key: shown(value) for key, value in leaves(generation.manifest["index"]) if "recall" in key},
        **{key: shown(value) for key, value in leaves(generation.manifest["run"]["metrics"])},
    }
    _print_pairs(rows, "Published")


def print_manifest(manifest: Mapping[str, Any], *, current: bool) -> None:
    """Say where a generation comes from and what it holds."""
    files = {name: _bytes(entry["size"]) for name, entry in manifest["files"].items()}
    facts = {key: value for key, value in manifest.items() if key not in {"id", "files"}}
    _print_pairs({key: shown(value) for key, value in leaves(facts)}, manifest["id"] + " (current)" * current)
    _print_pairs(files, "Files")


def print_list(rows: list[dict[str, Any]]) -> None:
    """List generations, oldest first; the current one is marked and damage named."""
    table = Table("", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in ("id", "created"):
        table.add_column(name, no_wrap=True)
    for name in ("dataset", "recipe"):
        table.add_column(name, overflow="fold")
    for name in ("items", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        mark = "[green]*[/]" if row["current"] else ""
        if row["damage"]:
            table.add_row(mark, row["id"], "[red]damaged[/]")
        else:
            created = row["created"][:16].replace("T", " ")
            names = map(escape, (row["id"], created, row["dataset"], row["recipe"]))
            table.add_row(mark, *names, f"{row['items']:,}", _bytes(row["bytes"]))
    console = Console()
    console.print(table)
    for row in rows:
        if row["damage"]:
            console.print(f"{row['id']} is damaged: {row['damage']}", markup=False, highlight=False)


def print_difference(sections: Mapping[str, Mapping[str, list[Any]]], ids: Sequence[str]) -> None:
    """Say what differs between two generations."""
    for title, rows in sections.items():
        columns = (Column(no_wrap=True), *(Column(name, overflow="fold") for name in ids))
        table = Table(*columns, box=box.SIMPLE_HEAD)
        table.title, table.title_justify = title.capitalize(), "left"
        for name, pair in rows.items():
            table.add_row(escape(name), *("" if value is None else escape(shown(value)) for value in pair))
        if rows:
            Console(highlight=False).print(table)


def print_experiments(running: Sequence[Experiment]) -> None:
    """List experiments with their variants."""
    table = Table(
        "experiment", "variant", "generation", Column("share", justify="right"), box=box.SIMPLE_HEAD
    )
    for experiment in running:
        for place, row in enumerate(shares(experiment)):
            name = "" if place else experiment.name
            table.add_row(name, row["name"], row["generation"], f"{row['share']:.1%}")
    Console(highlight=False).print(table)


def shares(experiment: Experiment) -> list[dict[str, Any]]:
    """The variants, each with the weight that it was given and the share of the users that this makes."""
    return [
        {
            "name": variant.name,
            "generation": variant.generation,
            "weight": variant.share,
            "share": variant.share / experiment.total,
        }
        for variant in experiment.variants
    ]


def summary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A generation in one line."""
    return {
        "id": manifest["id"],
        "created": manifest["created"],
        "dataset": manifest["run"]["dataset"],
        "recipe": manifest["run"]["recipe"]["name"],
        "items": manifest["index"]["items"],
        "dim": manifest["index"]["dim"],
        "index": manifest["index"]["kind"],
        "bytes": sum(entry["size"] for entry in manifest["files"].values()),
    }


def _print_pairs(rows: Mapping[str, str], title: str) -> None:
    table = Table(Column(no_wrap=True), Column(overflow="fold"), show_header=False, box=box.SIMPLE_HEAD)
    table.title, table.title_justify = title, "left"
    for name, value in rows.items():
        table.add_row(escape(name), escape(value))
    Console(highlight=False).print(table)


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
