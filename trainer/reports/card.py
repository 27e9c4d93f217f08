"""The model card of a run (Mitchell et al., 2019): what the model is, knows and cannot do.

Everything is read off the run itself, so that the card says nothing that is not so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.describe import Description, describe
from deepmoviematch.data.sources import SOURCES, TERMS
from deepmoviematch.trainer.ease import LARGEST
from deepmoviematch.trainer.recipe import Recipe, SeedRecipe
from deepmoviematch.trainer.reports.curves import Curves
from deepmoviematch.trainer.words import counted

TOP_SHARE = 0.1
"""The most liked share of the items, whose share of the likes the card names."""

FILES = {
    "manifest.json": "where the run comes from, its figures, and the SHA-256 of every other file",
    "recipe.toml": "the recipe, with what the data chose",
    "catalogue.json": "the catalogue that the towers know, and how its items were rated",
    "user_tower/, item_tower/": "weights for NumPy, which the indexer takes",
    "user_tower.keras, item_tower.keras": "the Keras models, for tools of your own",
    "rating_head/": "weights of what predicts ratings beside a ranking, where the recipe wants that",
    "popularity.npy": "the share of the training users who liked each item",
    "reference.json": "distributions of features and scores, and sample users",
    "curves.csv, curves.png": "the figures of every epoch of every phase",
    "map.png": "the catalogue in two dimensions: what is near is alike to users",
    "card.md": "this card",
}
"""What a run's folder holds."""

COLUMNS = {"ndcg@100": "NDCG@100", "ndcg@10": "NDCG@10", "recall@20": "Recall@20", "recall@50": "Recall@50"}
LISTS = {
    "coverage@10": "share of the catalogue that is in someone's first ten",
    "overlap@10": "share of a first ten that another user's has too; 1 is the same list for everyone",
    "novelty@10": "mean surprise of a listed item in bits, -log2 of the share of users who liked it",
    "diversity@10": "mean distance between the genres of two items of a list, 1 - Jaccard",
}


def card(
    recipe: Recipe,
    dataset: Dataset,
    *,
    curves: Curves,
    metrics: Mapping[str, Any],
    popularity: Floats,
    parameters: Mapping[str, int],
    lenient: bool,
) -> str:
    """The card, in Markdown.

    Args:
        recipe: What was fitted.
        dataset: What it was fitted on.
        curves: Figures of the epochs of each phase.
        metrics: What the manifest says of the quality.
        popularity: [N] share of the users who liked each item.
        parameters: How many numbers each tower learnt.
        lenient: Whether bad rows were dropped.
    """
    about = describe(dataset)
    sections = {
        "Model": _model(recipe, parameters),
        "Data": _data(about, dataset),
        "Training": _training(recipe, curves, metrics),
        "Quality": _quality(metrics, recipe),
        "Use and limits": _limits(about, recipe, metrics, popularity),
        "Files": _files(),
        "Make it again": [
            f"The same data (digest `{about.digest}`), seed and library versions (`manifest.json`) give the "
            "same weights on one machine:",
            "",
            "    python -m deepmoviematch.trainer fit --data DATA --recipe recipe.toml --out RUN"
            + " --lenient" * lenient,
        ],
    }
    parts = [f"# {_plain(recipe.name)} on {_plain(dataset.name)}", ""]
    for title, lines in sections.items():
        parts += [f"## {title}", "", *lines, ""]
    return "\n".join(parts)


def _model(recipe: Recipe, parameters: Mapping[str, int]) -> Iterator[str]:
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    if isinstance(recipe, SeedRecipe):
        yield (
            "Two towers of dense layers. The user tower reads average ratings by genre, the item tower "
            f"year{', average rating' if recipe.average_rating else ''} and genres; the inner product of "
            "their unit vectors is the predicted rating, scaled to -1..1."
        )
    else:
        yield (
            "Two towers that rank a catalogue. The user tower reads a history of ratings and stated "
            "preferences for genres, and no identity, so that new users are served at once; the item tower "
            "reads the item's id, year and genres. The inner product of their vectors is the score."
        )
    yield f"Vectors have {recipe.embedding_dim} dimensions. Parameters: {counts}."


def _data(about: Description, dataset: Dataset) -> Iterator[str]:
    scale = dataset.ratings.scale
    per_user = about.ratings_per_user
    yield "| | |"
    yield "|---|---|"
    yield f"| name | {_plain(about.name)} |"
    yield f"| digest | `{about.digest}` |"
    yield f"| users | {about.users:,}, with {per_user['least']:,} to {per_user['most']:,} ratings each |"
    yield f"| items | {about.items:,}, of which {about.rated_items:,} have ratings |"
    yield (
        f"| ratings | {about.ratings:,}, from {scale.low:g} to {scale.top:g}, "
        f"{about.mean_rating:.2f} on average |"
    )
    yield f"| rated | {_span(about.first_rating, about.last_rating) or 'times are not known'} |"
    years = _span(about.first_year, about.last_year)
    undated, unsorted = (counted(count, "item") for count in (about.unknown_years, about.items_without_genre))
    yield f"| years | {f'{years}; unknown for {undated}' if years else 'not known'} |"
    genres = sorted(about.genres, key=lambda genre: -genre.items)
    named = ", ".join(f"{_plain(genre.genre)} {genre.items:,}" for genre in genres)
    yield f"| genres | {f'{named}; none for {unsorted}' if named else 'none'} |"
    for sentence in about.dropped:
        yield f"| note | {_plain(sentence)} |"
    yield ""
    if about.name in SOURCES:
        yield f"Terms, if this is the data set of GroupLens that its name says: {TERMS}."
    else:
        yield "The data came without terms of use; those of whoever gave them apply."


def _training(recipe: Recipe, curves: Curves, metrics: Mapping[str, Any]) -> Iterator[str]:
    for phase, rows in curves.items():
        seconds = sum(row["seconds"] for row in rows)
        yield f"- {phase}: {counted(len(rows), 'epoch')}, {seconds:.0f} s, last loss {rows[-1]['loss']:.4f}"
    if metrics.get("refit_on_everyone"):
        yield ""
        users, epochs = counted(metrics["users"], "user"), counted(metrics["epochs"], "epoch")
        yield (
            f"`measure` held {users} out, for the figures below. `refit` then fitted the towers that are "
            f"published, on everyone, for {epochs}: after so many those of `measure` were last not "
            "clearly worse than at their best."
        )
    yield ""
    yield "![learning curves](curves.png)"
    yield ""
    yield "| setting | |"
    yield "|---|---|"
    for name, value in recipe.to_dict().items():
        yield f"| {name} | {_plain(str(value))} |"


def _quality(metrics: Mapping[str, Any], recipe: Recipe) -> Iterator[str]:
    if "test_mse" in metrics:
        yield (
            f"Mean squared error of {metrics['rows']:,} ratings that were not trained on, with ratings "
            f"scaled to -1..1: {metrics['test_mse']:.4f}."
        )
        return
    if not metrics["users"]:
        yield "Not measured: nobody was held out."
        return
    yield (
        f"{metrics['users']:,} users were held out whole; 80 % of each one's ratings were told, the likes "
        "among the rest asked for, in the full catalogue without what was told. Means over users with 95 % "
        "bootstrap intervals."
    )
    yield (
        "What the recipe left to the data of width and penalty was chosen from all ratings, "
        "those of the same users among them."
    )
    if not isinstance(recipe, SeedRecipe) and recipe.patience:
        yield (
            "The number of epochs was chosen by the same users, which flatters the towers a little; "
            "`evaluate` asks users that nothing was chosen by."
        )
    yield ""
    yield f"| | {' | '.join(COLUMNS.values())} |"
    yield f"|---|{'---|' * len(COLUMNS)}"
    for model, figures in metrics["rankings"].items():
        yield f"| {model} | {' | '.join(_interval(figures[name]) for name in COLUMNS)} |"
    yield ""
    if "ease" not in metrics["rankings"]:
        yield (
            "EASE is left out: with so many items it is not solved just to stand beside the towers. "
            f"`evaluate --peers` fits it, of more than {LARGEST:,} items to the {LARGEST:,} most liked."
        )
        yield ""
    yield f"| first ten of the same users | {' | '.join(metrics['rankings'])} | |"
    yield f"|---|{'---|' * len(metrics['rankings'])}---|"
    for name, meaning in LISTS.items():
        values = [f"{figures[name]:.3f}" for figures in metrics["rankings"].values() if name in figures]
        if values:  # without genres nothing is known of their diversity
            yield f"| {name} | {' | '.join(values)} | {meaning} |"
    if rated := metrics.get("ratings"):
        yield ""
        yield (
            "Errors in stars of predicted ratings, of all that the same users did not tell, and what the "
            "last row's root mean square error is of the others':"
        )
        yield ""
        yield "| | RMSE | MAE | the last / it |"
        yield "|---|---|---|---|"
        for way, figures in rated.items():
            ratio = figures.get("rmse, ours / it")
            errors = (figures["rmse_stars"], figures["mae_stars"], *([ratio] if ratio else []))
            yield f"| {way} | {' | '.join(map(_interval, errors))} |{'' if ratio else ' |'}"
    yield ""
    yield from _moments(metrics.get("moments", {}))
    yield ""
    yield "![the catalogue: what is near is alike to users](map.png)"


def _moments(gains: Mapping[str, Any]) -> Iterator[str]:
    if not gains:
        yield "Nothing is read of the moment at which a user asks: the data tell of none, or it was left out."
        return
    yield (
        "When and on what a user asks is read where that helped the users who were held out. Each of their "
        "likes was asked for alone, at its own hour (UTC), weekday and device:"
    )
    yield ""
    for name, figures in gains.items():
        yield f"- {name}: {gain_text(figures)}"


def gain_text(figures: Mapping[str, Any]) -> str:
    """What a feature of the moment adds, and whether it is read."""
    if not figures["users"]:
        return "off: nobody to ask tells it"
    return (
        f"{'on' if figures['on'] else 'off'}: adds {_interval(figures['added'], sign='+')} to an NDCG@100 of "
        f"{figures['ndcg@100']:.3f}, over {counted(figures['users'], 'user')}"
    )


def _limits(
    about: Description, recipe: Recipe, metrics: Mapping[str, Any], popularity: Floats
) -> Iterator[str]:
    if isinstance(recipe, SeedRecipe):
        yield "- Made to predict ratings from tastes in genres; as a ranker it was not measured."
    else:
        yield (
            "- Made to rank the items of this catalogue for a person, from what they rated or say they like, "
            "and to find items like an item. The score orders items; it is no probability and no rating."
        )
        if "ratings" in metrics:
            yield "- Predicted ratings have no part in the order, which seeks likes, not high ratings."
        yield f"- A like is a rating of {about.likes.least:g} or more."
        if about.likes.warning:
            yield f"- Hardly anything was liked: {about.likes.warning}."
    likes = np.sort(popularity.astype(np.float64))[::-1]
    head = likes[: max(1, round(TOP_SHARE * len(likes)))].sum() / max(likes.sum(), 1e-9)
    yield (
        f"- The most liked {TOP_SHARE:.0%} of the items have {head:.0%} of the likes, and what is fitted on "
        "such data tends to favour what is popular already."
    )
    cold = about.items - about.rated_items
    if cold and not isinstance(recipe, SeedRecipe):
        yield f"- {counted(cold, 'item')} without a rating: placed by year and genres alone."
    yield (
        f"- Its users gave {about.ratings_per_user['least']:,} ratings or more, "
        f"half of them {about.ratings_per_user['half']:,} or more; with less to tell it may do worse."
    )
    if about.last_rating:
        yield f"- It knows nothing of tastes and items after {about.last_rating[:10]}."
    yield (
        "- It was not measured whether it serves groups of people alike: "
        "it reads nothing of who its users are."
    )
    if metrics.get("refit_on_everyone"):
        yield (
            "- The figures are of towers that had not seen the users they were asked for; "
            "the published ones have."
        )


def _files() -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for names, meaning in FILES.items():
        yield f"| {', '.join(f'`{name}`' for name in names.split(', '))} | {meaning} |"


def _span(first: object, last: object) -> str:
    return f"{first} to {last}" if first is not None else ""


def _interval(figure: Mapping[str, float], *, sign: str = "") -> str:
    mean, low, high = (format(figure[bound], f"{sign}.3f") for bound in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _plain(text: str) -> str:
    """A name as Markdown shows it in a table: one line, its signs taken literally."""
    marks = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|#"})
    return " ".join(text.split()).translate(marks)
