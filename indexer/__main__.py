"""Builds generations and looks after the store: python -m deepmoviematch.indexer."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.data.program import exit_status, importing

with importing(extra="serve"):
    from deepmoviematch.indexer import console
    from deepmoviematch.indexer.build import build
    from deepmoviematch.indexer.comparison import difference
    from deepmoviematch.indexer.errors import GenerationError, StoreError
    from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
    from deepmoviematch.indexer.search.kinds import CHOICES, EXACT_UP_TO
    from deepmoviematch.indexer.store import Store

_Result: TypeAlias = tuple[object, Callable[[], None]]
"""What a command prints as JSON, and what shows it to people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`arguments`, or the process's own) and return the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: _run(options), extra="serve")


def _run(options: argparse.Namespace) -> None:
    value, show = options.command(Store(options.store), options)
    if options.json:
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        show()


def _build(store: Store, options: argparse.Namespace) -> _Result:
    start = time.monotonic()
    before = _serving(store)
    generation = build(options.run, store, index=options.index, force=options.force)
    name = generation.manifest["run"]["dataset"]
    served = name if before is None else before["run"]["dataset"]
    if served != name:
        print(f"note: the store served {served} until now and serves {name} from now on", file=sys.stderr)
    seconds = time.monotonic() - start
    return console.summary(generation.manifest), partial(console.print_built, generation, seconds)


def _serving(store: Store) -> dict[str, Any] | None:
    """The manifest of the current generation; None if there is none, or none that can be read."""
    try:
        return store.manifest()
    except MovieMatchError:
        return None


def _list(store: Store, _: argparse.Namespace) -> _Result:
    names, current = store.list(), _current(store)
    rows = [_row(store, name) | {"current": name == current} for name in names]

    def show() -> None:
        console.print_list(rows)
        if not rows:
            print("no generations; build one with: build --run RUN", file=sys.stderr)

    return rows, show


def _row(store: Store, name: str) -> dict[str, Any]:
    try:
        return console.summary(store.load(name).manifest) | {"damage": None}
    except (GenerationError, StoreError) as error:
        return {"id": name, "damage": str(error)}


def _show(store: Store, options: argparse.Namespace) -> _Result:
    manifest = store.load(options.id).manifest
    return manifest, lambda: console.print_manifest(manifest, current=manifest["id"] == _current(store))


def _current(store: Store) -> str | None:
    """The id of the current generation; None if there is none, or, which is said, none that can be told."""
    try:
        return store.current()
    except StoreError as error:
        print(f"note: {error}", file=sys.stderr)
        return None


def _diff(store: Store, options: argparse.Namespace) -> _Result:
    first, second = store.load(options.first), store.load(options.second)
    sections = difference(first, second, store.queries(first.id))
    value = {"first": first.id, "second": second.id} | sections
    return value, partial(console.print_difference, sections, (first.id, second.id))


def _verify(store: Store, options: argparse.Namespace) -> _Result:
    name = store.load(options.id).id
    return {"id": name, "whole": True}, partial(print, f"{name} is whole and answers its golden queries")


def _rollback(store: Store, options: argparse.Namespace) -> _Result:
    name = store.rollback(options.id).id
    return {"current": name}, partial(print, f"{name} is current")


def _experiment(store: Store, options: argparse.Namespace) -> _Result:
    if options.end:
        if options.name is None or options.variants:
            raise StoreError("--end takes the name of an experiment and nothing else")
        store.end_experiment(options.name)
    elif options.variants:
        if options.name is None:
            raise StoreError("an experiment needs a name: experiment NAME --variant ...")
        store.begin_experiment(Experiment(options.name, tuple(options.variants)))
    store.check_there()
    running = [each for each in store.experiments().values() if options.name in (None, each.name)]
    value = {each.name: console.shares(each) for each in running}
    if running:
        return value, partial(console.print_experiments, running)
    none = "no experiment runs" if options.name is None else f"no experiment {options.name} runs"
    return value, partial(print, none)


def _variant(text: str) -> Variant:
    """What VARIANT=GENERATION or VARIANT=GENERATION:SHARE says."""
    name, _, rest = text.partition("=")
    generation, colon, share = rest.partition(":")
    try:
        return Variant(name, generation, float(share)) if colon else Variant(name, generation)
    except ValueError:
        raise argparse.ArgumentTypeError(f"the share must be a number, got {share!r} in {text!r}") from None


def _gc(store: Store, options: argparse.Namespace) -> _Result:
    removed = store.gc(keep=options.keep)
    return {"removed": removed}, partial(print, f"removed {', '.join(removed) or 'nothing'}")


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--store", type=Path, default=Path("store"), help="the store's folder (default: store)"
    )
    shared.add_argument("--json", action="store_true", help="print the result as JSON")
    parser = argparse.ArgumentParser(prog="python -m deepmoviematch.indexer", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[shared], help=text, description=text.capitalize() + ".")
        added.set_defaults(command=command)
        return added

    building = add("build", _build, "publish a training run as the current generation")
    building.add_argument("--run", type=Path, required=True, help="the run's folder, written by the trainer")
    building.add_argument(
        "--index",
        choices=CHOICES,
        default="auto",
        help=f"how items are searched: by comparing all, by lists of neighbours (ivf), by a graph of them "
        f"(hnsw), or (auto, the default) by lists above {EXACT_UP_TO:,} items",
    )
    building.add_argument(
        "--force",
        action="store_true",
        help="publish it though it is clearly worse than the current one, or that cannot say how good it is",
    )
    add("list", _list, "list the generations, oldest first; * marks the current one")
    for name, command, text in (
        ("show", _show, "show where a generation comes from and what it holds"),
        ("verify", _verify, "check every byte of a generation and replay its golden queries"),
    ):
        add(name, command, text).add_argument("id", nargs="?", help="default: the current one")
    differing = add("diff", _diff, "show how two generations differ: runs, figures, items, answers")
    differing.add_argument("first", help="the one to begin with")
    differing.add_argument("second", nargs="?", help="default: the current one")
    add("rollback", _rollback, "make an older generation current again").add_argument(
        "id", nargs="?", help="default: the newest of those older than the current one"
    )
    trying = add("experiment", _experiment, "begin, change, end or list experiments between generations")
    trying.add_argument("name", nargs="?", help="of the experiment; without it, all are listed")
    trying.add_argument(
        "--variant",
        action="append",
        dest="variants",
        type=_variant,
        metavar="VARIANT=GENERATION[:SHARE]",
        help="what answers a share of the users (compared with the other shares; default: 1): the generation "
        f"of that id, or {CURRENT}; may be repeated. Keep the order when shares change, so that few users do",
    )
    trying.add_argument("--end", action="store_true", help="let it run no more")
    add(
        "gc", _gc, "remove all but the newest generations, the current one and those of experiments"
    ).add_argument("--keep", type=int, required=True, help="how many of the newest to keep, at least 1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
