"""What is in a data set: counts, density, years, genres, ratings, times."""

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepmoviematch.data.catalogue import UNKNOWN_YEAR
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.likes import Likes
from deepmoviematch.data.ratings import Ratings

MOST_BARS = 20
"""A rating scale with more values than this is shown in `FEW_BARS` equal ranges."""

FEW_BARS = 10
QUANTILES = {"least": 0.0, "a quarter": 0.25, "half": 0.5, "three quarters": 0.75, "most": 1.0}


@dataclass(frozen=True)
class GenreSummary:
    """One genre of the catalogue."""

    genre: str
    items: int
    ratings: int

    mean_rating: float | None
    """None where none of its items is rated."""


@dataclass(frozen=True)
class Bar:
    """How many ratings lie from `low` to `high`, both included."""

    low: float
    high: float
    ratings: int


@dataclass(frozen=True)
class Description:
    """What there is to say of a data set, as plain values."""

    name: str
    users: int
    items: int
    rated_items: int
    ratings: int
    likes: Likes

    density: float
    """Ratings over users times items."""

    ratings_per_user: dict[str, int]
    """`QUANTILES`, over users."""

    ratings_per_item: dict[str, int]
    """`QUANTILES`, over rated items."""

    first_year: int | None
    last_year: int | None
    unknown_years: int
    items_without_genre: int
    genres: list[GenreSummary]

    columns: dict[str, str]
    """Name and kind of each further column."""

    mean_rating: float
    histogram: list[Bar]

    first_rating: str | None
    """Time of the earliest rating, ISO 8601 in UTC; None where the data have no times."""

    last_rating: str | None

    devices: dict[str, int]
    """Ratings on each device; empty where the data name none."""

    dropped: tuple[str, ...]
    digest: str

    def to_json(self) -> dict[str, Any]:
        """The description for programs."""
        return asdict(self)


def describe(dataset: Dataset) -> Description:
    """Describe `dataset`."""
    catalogue, ratings = dataset.catalogue, dataset.ratings
    per_item = np.bincount(ratings.items, minlength=len(catalogue))
    years = catalogue.years[catalogue.years != UNKNOWN_YEAR]
    times = ratings.timestamps
    return Description(
        name=dataset.name,
        users=len(ratings.user_ids),
        items=len(catalogue),
        rated_items=int((per_item > 0).sum()),
        ratings=len(ratings),
        likes=Likes.of(ratings),
        density=len(ratings) / (len(ratings.user_ids) * len(catalogue)),
        ratings_per_user=_quantiles(np.diff(ratings.offsets)),
        ratings_per_item=_quantiles(per_item[per_item > 0]),
        first_year=int(years.min()) if len(years) else None,
        last_year=int(years.max()) if len(years) else None,
        unknown_years=len(catalogue) - len(years),
        items_without_genre=int((~catalogue.genres.any(axis=1)).sum()),
        genres=summaries_of_genres(dataset),
        columns={column.name: column.kind.value for column in catalogue.columns},
        mean_rating=float(ratings.ratings.mean(dtype=np.float64)),
        histogram=_histogram(ratings),
        first_rating=None if times is None else _iso(int(times.min())),
        last_rating=None if times is None else _iso(int(times.max())),
        devices=_devices(ratings),
        dropped=dataset.dropped,
        digest=dataset.digest,
    )


def show(description: Description, console: Console) -> None:
    """Print a description for people."""
    console.print(_facts(description))
    if description.genres:
        console.print(_genre_table(description))
    console.print(_bars(description.histogram))
    for sentence in filter(None, (*description.dropped, description.likes.warning, _spellings(description))):
        console.print(sentence, style="yellow", markup=False)


def _spellings(description: Description) -> str:
    """A sentence on genres that differ in case only; empty where none do."""
    spellings: dict[str, list[str]] = {}
    for each in description.genres:
        spellings.setdefault(each.genre.casefold(), []).append(each.genre)
    alike = [" and ".join(names) for names in spellings.values() if len(names) > 1]
    if not alike:
        return ""
    return f"genres must be spelt in one way to be one, got {', '.join(alike)}; they count as different"


def _quantiles(counts: Any) -> dict[str, int]:
    return {name: int(np.quantile(counts, share, method="inverted_cdf")) for name, share in QUANTILES.items()}


def summaries_of_genres(dataset: Dataset) -> list[GenreSummary]:
    """Each genre of the catalogue, in its order."""
    catalogue, ratings = dataset.catalogue, dataset.ratings
    per_item = np.bincount(ratings.items, minlength=len(catalogue))
    totals = np.bincount(ratings.items, weights=ratings.ratings, minlength=len(catalogue))
    summaries = []
    for genre, flags in zip(catalogue.genre_names, catalogue.genres.T, strict=True):
        count = int(per_item[flags].sum())
        mean = float(totals[flags].sum() / count) if count else None
        summaries.append(GenreSummary(genre, int(flags.sum()), count, mean))
    return summaries


def _histogram(ratings: Ratings) -> list[Bar]:
    values, counts = np.unique(ratings.ratings, return_counts=True)
    if len(values) <= MOST_BARS:
        return [
            Bar(float(str(value)), float(str(value)), int(count))
            for value, count in zip(values, counts, strict=True)
        ]
    counts, edges = np.histogram(ratings.ratings.astype(np.float64), bins=FEW_BARS)
    places = 4 - math.floor(math.log10(edges[1] - edges[0]))  # no more than float32 tells
    ends = [round(edge, places) for edge in edges.tolist()]
    return [Bar(low, high, int(count)) for low, high, count in zip(ends[:-1], ends[1:], counts, strict=True)]


def _devices(ratings: Ratings) -> dict[str, int]:
    if ratings.devices is None:
        return {}
    counts = np.bincount(ratings.devices[ratings.devices >= 0], minlength=len(ratings.device_names))
    return dict(zip(ratings.device_names, counts.tolist(), strict=True))


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat()


def _facts(description: Description) -> Table:
    table = Table("", "", title=Text(description.name), show_header=False)
    facts = {
        "users": f"{description.users:,}",
        "items": f"{description.items:,} ({description.rated_items:,} rated)",
        "ratings": f"{description.ratings:,} (mean {description.mean_rating:.3f})",
        "likes": _likes(description.likes),
        "density": f"{description.density:.3%}",
        "ratings per user": _spread(description.ratings_per_user),
        "ratings per rated item": _spread(description.ratings_per_item),
        "years": _years(description),
        "without genre": f"{description.items_without_genre:,} items",
        "further columns": ", ".join(f"{name} ({kind})" for name, kind in description.columns.items())
        or "none",
        "time span": f"{description.first_rating} to {description.last_rating}"
        if description.first_rating
        else "the ratings have no times",
        "devices": ", ".join(f"{name} ({count:,})" for name, count in description.devices.items())
        or "the ratings name none",
        "digest": description.digest[:16],
    }
    for name, fact in facts.items():
        table.add_row(name, Text(fact))
    return table


def _likes(likes: Likes) -> str:
    return f"{likes.count:,} ({likes.share:.1%}; {likes.least:g} or more) of {likes.items:,} items"


def _spread(quantiles: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in quantiles.items())


def _years(description: Description) -> str:
    if description.first_year is None:
        return "unknown"
    return f"{description.first_year} to {description.last_year} ({description.unknown_years:,} unknown)"


def _genre_table(description: Description) -> Table:
    table = Table("genre", title="genres")
    for name in ("items", "ratings", "mean rating"):
        table.add_column(name, justify="right")
    for genre in description.genres:
        mean = "-" if genre.mean_rating is None else f"{genre.mean_rating:.3f}"
        table.add_row(Text(genre.genre), f"{genre.items:,}", f"{genre.ratings:,}", mean)
    return table


def _bars(histogram: list[Bar], width: int = 40) -> Table:
    table = Table("rating", title="ratings")
    table.add_column("count", justify="right")
    table.add_column("")
    most = max(bar.ratings for bar in histogram)
    for bar in histogram:
        name = f"{bar.low:g}" if bar.low == bar.high else f"{bar.low:g} to {bar.high:g}"
        table.add_row(name, f"{bar.ratings:,}", "█" * round(width * bar.ratings / most))
    return table
