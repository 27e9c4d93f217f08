"""The trainer's command line.

    python -m deepmoviematch.trainer fit      --data DIR --recipe retrieval --out RUN
    python -m deepmoviematch.trainer evaluate --data DIR --recipe retrieval --protocol new-users --peers
    python -m deepmoviematch.trainer evaluate --data DIR --protocol new-users --at host:port --run RUN
    python -m deepmoviematch.trainer exercise --data DIR --taste action=5 --taste comedy=3
    python -m deepmoviematch.trainer neighbours --run RUN --data DIR --item "Heat (1995)"

TensorFlow takes seconds to import, so each command imports what it needs once its
arguments are known to be good.
"""

import argparse
import json
import os.path
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepmoviematch.data.program import exit_status, importing

with importing(extra="train"):
    from deepmoviematch.data.ratings import LOWEST_STARS, TOP_STARS
    from deepmoviematch.trainer.console import (
        print_fit,
        print_listing,
        print_measure,
        print_rows,
        print_table,
    )
    from deepmoviematch.trainer.errors import RecipeError, TrainingError
    from deepmoviematch.trainer.quiet import import_tensorflow
    from deepmoviematch.trainer.recipe import Recipe, SeedRecipe, load_recipe
    from deepmoviematch.trainer.words import counted

PROTOCOLS = {
    "new-users": "users held out whole, told by 80 % of their ratings",
    "three-likes": "the same users, told by three of their likes",
    "genres-only": "the same users, told by how much they like each genre",
    "two-genres": "the same users, told by two favourite genres",
    "three-genres": "the same users, told by three favourite genres",
    "next-item": "each user's last like, told by what came before",
    "time": "trained before a moment, asked after it",
    "cold-items": "a tenth of the items never seen in training, ranked among themselves",
    "moments": "likes of new users one by one: what hour, weekday and device of each add to a taste",
    "rating": "held-out ratings predicted, in stars",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`arguments`, or the process's own) and return the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: options.command(options), extra="train")


def _fit(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    from deepmoviematch.trainer.fit import fit_run  # noqa: PLC0415 - see the module's docstring

    out: Path = options.out
    fitted = fit_run(options.data, recipe, out, resume=options.resume, lenient=options.lenient)
    if options.json:
        print(json.dumps({"run": str(out), "metrics": fitted.metrics}, allow_nan=False))
    else:
        print_fit(fitted.metrics, out)


def _evaluate(options: argparse.Namespace) -> None:
    if options.at is not None:
        _refuse_unread(options, "recipe", "set", rule="with --at a server answers, as it was fitted")
    elif options.run is not None:
        raise TrainingError("--run names what a server's generation was built from, got no --at host:port")
    recipe = _recipe(options)
    from deepmoviematch.trainer.experiments.experiment import evaluate  # noqa: PLC0415
    from deepmoviematch.trainer.experiments.plan import Plan  # noqa: PLC0415

    plan = Plan(
        protocols=tuple(dict.fromkeys(options.protocol)),
        seed=options.seed,
        splits=options.splits,
        peers=options.peers,
        history=options.history,
    )
    if options.plot is not None:
        _refuse_plot(options.plot, plan.protocols)
    if options.at is not None:
        from deepmoviematch.trainer.experiments.wire import evaluate_served  # noqa: PLC0415

        tables = evaluate_served(options.data, options.at, plan, run=options.run, lenient=options.lenient)
    else:
        tables = evaluate(options.data, recipe, plan, lenient=options.lenient)
    if options.json:
        values = [table.to_json() for table in tables]
        print(json.dumps(values if len(values) > 1 else values[0], allow_nan=False))
    else:
        for table in tables:
            print_table(table, slices=options.slices)
    if options.plot is not None:
        from deepmoviematch.trainer.experiments.plot import png  # noqa: PLC0415

        try:
            options.plot.write_bytes(png([table for table in tables if "asked_users" in table.about]))
        except OSError as error:
            raise TrainingError(f"--plot must be writable, got {error}") from error
    if failures := [f"{table.about['protocol']}: {table.failure}" for table in tables if table.failure]:
        raise TrainingError("; ".join(failures))


def _refuse_unread(options: argparse.Namespace, *names: str, rule: str) -> None:
    """Refuse options that were given where nothing reads them; `rule` says where that is."""
    given = {name: getattr(options, name) for name in names}
    if got := ", ".join(f"--{name} {value}" for name, value in given.items() if value):
        raise TrainingError(f"{rule}, got {got}; leave it out")


def _refuse_plot(path: Path, protocols: Sequence[str]) -> None:
    """A picture is a PNG of rankings, in a folder that is there; said before anything is trained."""
    if not set(protocols) - {"moments", "rating"}:
        raise TrainingError(f"--plot draws rankings, got --protocol {' '.join(protocols)}; leave --plot out")
    if path.suffix.lower() != ".png":
        raise TrainingError(f"--plot must be a file that ends in .png, got {path}")
    if os.path.isdir(path) or not os.path.isdir(path.parent):  # unlike a `Path`, these never raise
        raise TrainingError(f"--plot must be a file in a folder that is there, got {path}")


def _exercise(options: argparse.Namespace) -> None:
    recipe = _recipe(options)
    from deepmoviematch.data.readers import read_and_tell  # noqa: PLC0415
    from deepmoviematch.trainer.experiments import exercise  # noqa: PLC0415
    from deepmoviematch.trainer.fit import fit_seed, seed_rows  # noqa: PLC0415

    if not isinstance(recipe, SeedRecipe):
        raise RecipeError(f"the exercise's tables need a recipe of the seed family, got {recipe.name}")
    dataset = read_and_tell(options.data, lenient=options.lenient)
    rows = seed_rows(options.data, dataset, recipe)
    taste = dict(map(_taste, options.taste)) or dict.fromkeys(rows.genre_names[:1], 5.0)
    exercise.check_taste(rows, taste)
    user, count = options.user or rows.user_ids[0], options.count
    exercise.check_user(rows, user)
    towers = fit_seed(dataset.catalogue, rows, recipe).towers
    listings = (
        exercise.training_rows(rows, min(count, 5)),
        exercise.top_for_taste(towers, rows, dataset.catalogue, taste, count),
        exercise.predicted_and_actual(towers, rows, dataset.catalogue, user, count),
        exercise.nearest_movies(towers, dataset.catalogue, count),
        exercise.most_rated(dataset),
        exercise.by_genre(dataset),
    )
    for listing in listings:
        print_listing(listing)


def _neighbours(options: argparse.Namespace) -> None:
    if options.item is None:
        _refuse_unread(options, "beside", "count", rule="without --item no neighbours are listed")
    else:
        _refuse_unread(options, "seed", rule="with --item nothing is drawn")
    from deepmoviematch.data.readers import read_and_tell  # noqa: PLC0415
    from deepmoviematch.trainer.experiments.neighbourhood import Neighbourhood  # noqa: PLC0415
    from deepmoviematch.trainer.experiments.neighbours import measure, neighbours_of  # noqa: PLC0415
    from deepmoviematch.trainer.experiments.table import finite  # noqa: PLC0415

    around = Neighbourhood.of(options.run, read_and_tell(options.data, lenient=options.lenient))
    if options.item is None:
        found = measure(around, seed=options.seed or 1)
    else:
        listed = neighbours_of(around, options.item, options.beside, count=options.count or 10)
        found = {"item": options.item, "users": around.likes.shape[0], "neighbours": listed}
    if options.json:
        print(json.dumps(finite(found), allow_nan=False))
    elif options.item is None:
        print_measure(found)
    else:
        print(f"neighbours of {options.item}; likes of {counted(found['users'], 'user')}")
        print_rows(tuple(listed[0]), [tuple(each.values()) for each in listed])
        print("note: a lift is drawn towards 1 by one user more in fact and by chance; - is none")


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe to fit, and with it what fits it."""
    name = options.usual_recipe if options.recipe is None else options.recipe
    recipe = load_recipe(name, dict(map(_setting, options.set)))
    import_tensorflow()
    return recipe


def _setting(text: str) -> tuple[str, Any]:
    """A recipe's `name=value` in TOML, where a bare word is a string."""
    name, _, value = text.partition("=")
    try:
        values = tomllib.loads(f"value = {value}")
    except ValueError:  # no TOML, or a number of thousands of digits
        return name, value
    if len(values) > 1:
        raise RecipeError(f"--set must be one name=value, got {text!r}; give each setting a --set of its own")
    return name, values["value"]


def _taste(text: str) -> tuple[str, float]:
    genre, _, number = text.rpartition("=")
    try:
        stars = float(number)
    except ValueError:
        stars = float("nan")
    if not LOWEST_STARS <= stars <= TOP_STARS:
        raise RecipeError(
            f"a taste must be genre=stars with {LOWEST_STARS:g} to {TOP_STARS:g} stars, "
            f"such as action=5, got {text!r}"
        )
    return genre, stars


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deepmoviematch.trainer", description="Fit the two towers and measure them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="fit a recipe and leave a run folder")
    _add_common(fit, recipe="retrieval")
    fit.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="folder of the run; replaced if there"
    )
    fit.add_argument(
        "--resume", action="store_true", help="go on from the last whole epoch of an interrupted fit"
    )
    fit.add_argument("--json", action="store_true", help="print the metrics as one line of JSON at the end")
    fit.set_defaults(command=_fit)

    evaluate = commands.add_parser("evaluate", help="train on a split, measure on the rest, beside the peers")
    _add_common(evaluate, recipe="retrieval")
    evaluate.add_argument(
        "--protocol",
        nargs="+",
        choices=[*PROTOCOLS, "all"],
        default=["new-users"],
        metavar="NAME",
        help="; ".join(f"{name}: {text}" for name, text in PROTOCOLS.items()).replace("%", "%%")
        + "; all: every ranking that the data allow (default: new-users)",
    )
    evaluate.add_argument(
        "--peers", action="store_true", help="train and tune item-kNN, EASE and the others too"
    )
    evaluate.add_argument("--seed", type=_positive, default=1, help="of the splits (default: %(default)s)")
    evaluate.add_argument(
        "--splits",
        type=_positive,
        default=1,
        help="splits to pool, disjoint where users or items are held out (default: 1)",
    )
    evaluate.add_argument(
        "--history",
        choices=["all", "likes"],
        default="all",
        help="likes: what a user rated low is neither told nor masked (default: all)",
    )
    evaluate.add_argument(
        "--at", metavar="HOST:PORT", help="ask the server there instead of training the recipe"
    )
    evaluate.add_argument(
        "--run",
        type=Path,
        metavar="RUN",
        help="with --at: the run that the served generation was built from. Asks the users whom it held "
        "out, of runs fitted with --set refit=false, for others were fitted on everyone; fails where the "
        "wire ranks otherwise than the run's towers",
    )
    evaluate.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw ours and the peers with their intervals"
    )
    evaluate.add_argument(
        "--slices",
        action="store_true",
        help="also print figures by length of the history, and by popularity and genre of the target",
    )
    evaluate.add_argument(
        "--json", action="store_true", help="print the table, or a list of them, as one line of JSON"
    )
    evaluate.set_defaults(command=_evaluate)

    exercise = commands.add_parser("exercise", help="fit the seed recipe and print what its author looked at")
    _add_common(exercise, recipe="seed")
    exercise.add_argument(
        "--taste",
        action="append",
        default=[],
        metavar="GENRE=STARS",
        help="a made-up user's stars for a genre",
    )
    exercise.add_argument("--user", help="id of the known user to show (default: the first)")
    exercise.add_argument(
        "--count", type=_positive, default=10, help="rows of a table (default: %(default)s)"
    )
    exercise.set_defaults(command=_exercise)

    neighbours = commands.add_parser(
        "neighbours", help="whether neighbours that share no genre are liked by the same people"
    )
    _add_data(neighbours)
    neighbours.add_argument(
        "--run",
        type=Path,
        required=True,
        metavar="RUN",
        help="a run that was fitted on the data; the users whom it held out count, else everyone",
    )
    neighbours.add_argument("--item", metavar="TITLE", help="list this item's neighbours instead")
    neighbours.add_argument(
        "--beside", action="append", default=[], metavar="TITLE", help="with --item: say where this ranks too"
    )
    neighbours.add_argument("--count", type=_positive, help="with --item: neighbours listed (default: 10)")
    neighbours.add_argument(
        "--seed", type=_positive, help="without --item: of random pairs and bootstrap (default: 1)"
    )
    neighbours.add_argument("--json", action="store_true", help="print it as one line of JSON")
    neighbours.set_defaults(command=_neighbours)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, recipe: str) -> None:
    _add_data(parser)
    parser.add_argument("--recipe", help=f"seed, retrieval, or the path of a .toml file (default: {recipe})")
    parser.set_defaults(usual_recipe=recipe)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the recipe"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with ratings and movies"
    )
    parser.add_argument(
        "--lenient", action="store_true", help="drop bad rows and say how many, instead of failing"
    )


if __name__ == "__main__":
    sys.exit(main())
