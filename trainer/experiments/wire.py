"""The same figures at the wire: asks a running server for the users of a protocol.

A caller like any other: it uses the shipped client, and sends what a user told in
the data's own ids and units. Given the run that the
generation was built from, it asks the users whom that run held out, and ranks for
them with the run's NumPy towers too: wherever training, export, index and server
agree, both rank alike. Symbols: `B` users, `N` items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepmoviematch.client import CallError, Client, pb
from deepmoviematch.data.arrays import Floats
from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.ratings import Ratings
from deepmoviematch.data.readers import read
from deepmoviematch.data.user_batch import UserBatch
from deepmoviematch.indexer.run import Run
from deepmoviematch.indexer.towers import item_tower, user_tower
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.meter import RankingMeter, RankingReport
from deepmoviematch.trainer.evaluation.protocols import (
    PROTOCOLS,
    Split,
    Trial,
    held_out,
    new_users,
    refuse_other_catalogue,
)
from deepmoviematch.trainer.evaluation.ranking import meter_of, rank
from deepmoviematch.trainer.experiments.comparison import Measured
from deepmoviematch.trainer.experiments.experiment import named, rankings
from deepmoviematch.trainer.experiments.plan import Plan
from deepmoviematch.trainer.experiments.table import Table

AGREEMENT = 1e-6
"""How far the NDCG of a user may be from what the run's towers give, with an exact index."""

COMPARED = ("ndcg@100", "ndcg@10")
TIMEOUT_S = 20.0

_NAMED = 10_000
"""Ids that a request may name."""


def evaluate_served(
    data: Path, address: str, plan: Plan, *, run: Path | None = None, lenient: bool = False
) -> list[Table]:
    """Measure the generation that a server answers from, with a table for each protocol.

    Args:
        data: Folder in any form that `deepmoviematch.data.readers.read` takes.
        address: "host:port" of the server.
        plan: What to ask.
        run: Folder of the run that the generation was built from, if it is at hand.
        lenient: Whether to drop bad rows instead of refusing the data.

    Raises:
        MovieMatchError: If the data break a rule, the protocol cannot be asked at the wire,
            the run is of other data, or the server fails.
    """
    dataset = read(data, lenient=lenient)
    names = named(dataset, plan, but="cold-items")
    if refused := [name for name in names if name in {"cold-items", "moments", "rating"}]:
        raise TrainingError(
            f"a server must be asked for what it answers, got {', '.join(refused)}: its generation knows "
            "every item, has seen every rating, and reads only what helped of the moment"
        )
    built_from, asked = (None, None) if run is None else _run(run, dataset, plan)
    with Client(address, timeout_s=TIMEOUT_S, wait=False) as client:
        _refuse_other_data(client, address, dataset)
        served = Served(client, address, Units(dataset.ratings), built_from, asked)
        return [
            replace(
                table,
                about=table.about | {"at": address, "recipe": served.recipe} | served.pooled,
                notes=(*served.caveats, *table.notes),
            )
            for table in rankings(dataset, served, replace(plan, protocols=names))
        ]


def _refuse_other_data(client: Client, address: str, dataset: Dataset) -> None:
    """Whoever knows nothing of what is told would be measured at 0, which says nothing of it."""
    rated = [dataset.catalogue.item_ids[row] for row in np.unique(dataset.ratings.items)]
    for start in range(0, len(rated), _NAMED):
        ids = rated[start : start + _NAMED]
        try:
            answer = client.recommend(pb.RecommendRequest(exclude_item_ids=ids, validate_only=True))
        except CallError as error:
            raise _unanswered(address, error) from error
        if len(answer.missing_item_ids) < len(ids):
            return
    raise TrainingError(
        f"the server at {address} must know items of the data, got none that were rated in {dataset.name}; "
        "name the --data of its generation, or --at another server"
    )


def _unanswered(address: str, error: CallError) -> TrainingError:
    return TrainingError(f"the server at {address} must answer, got {error}")


def _run(folder: Path, dataset: Dataset, plan: Plan) -> tuple[Run, Trial | None]:
    """The run in `folder`, and the users whom it held out."""
    run = Run.load(folder)
    refuse_other_catalogue(folder, run.catalogue, dataset.catalogue)
    if plan.splits > 1:
        raise TrainingError(f"a run held users out once, got --splits {plan.splits}; leave it or --run out")
    return run, held_out(folder, run.provenance, dataset)


class Units:
    """The way back from stars to the ratings of the data."""

    def __init__(self, ratings: Ratings) -> None:
        """Remember every rating that the data have."""
        self._ratings = np.unique(ratings.ratings)
        self._stars = ratings.scale.stars(self._ratings)

    def of_stars(self, stars: Floats) -> Floats:
        """The ratings that `RatingScale.stars` expressed as `stars`, to the bit."""
        ratings: Floats = self._ratings[np.searchsorted(self._stars, stars)]
        return ratings


@dataclass(frozen=True, eq=False)
class Served:
    """The generation that a server answers from, as a contender (`contender.Contender`)."""

    client: Client

    address: str
    """Where `client` asks, for people."""

    units: Units

    run: Run | None
    """What the generation was built from, if known."""

    held_out: Trial | None = None
    """The users whom the served towers are known not to have been fitted on, if any."""

    name: str = "served"

    @property
    def recipe(self) -> dict[str, Any]:
        """The run's recipe as plain values, empty where it is unknown."""
        return {} if self.run is None else dict(self.run.provenance["recipe"])

    @property
    def pooled(self) -> dict[str, str]:
        """What the header says of the users, where the run decides who they are."""
        return {"pooled": "the users whom the run held out"} if self.held_out is not None else {}

    @property
    def caveats(self) -> tuple[str, ...]:
        """What has to be read before the figures: that the towers may know the answers."""
        if self.held_out is not None:
            return ()
        if self.run is None:
            return (
                "the served towers may have been trained on these users and targets, which flatters them; "
                "--run RUN asks the users whom its run held out, where it was fitted with refit=false",
            )
        return (
            "the served towers were trained on these users and targets, which flatters them: their run "
            "was fitted on everyone; for figures of users held out serve one fitted with --set refit=false",
        )

    def split(self, split: Split, catalogue: Catalogue, ratings: Ratings, seed: int, fold: int) -> Trial:
        """The run's validation users where they are known, else those of the protocol."""
        if self.held_out is None:
            return split(catalogue, ratings, seed, fold)
        if split is new_users:
            return self.held_out
        held = np.isin(ratings.user_ids, self.held_out.user_ids)
        return replace(
            split(catalogue, ratings.take(held[ratings.users]), seed, fold), train=self.held_out.train
        )

    def answer(self, trials: Mapping[str, Trial], catalogue: Catalogue, fold: int) -> dict[str, Measured]:
        """See `contender.Contender.answer`."""
        return {name: self._measured(name, trial, catalogue) for name, trial in trials.items()}

    def _measured(self, name: str, trial: Trial, catalogue: Catalogue) -> Measured:
        meter = meter_of(trial, catalogue, sliced=PROTOCOLS[name].metrics[0])
        try:
            answers = ask(self.client, trial, catalogue, self.units, meter)
        except CallError as error:
            raise _unanswered(self.address, error) from error
        report = meter.report()
        notes, failure = [answers.sentence], ""
        if self.held_out is not None:
            later = ", while later ratings of others were" if trial.users.asks_next.any() else ""
            notes.append(
                f"the users are those whom the run held out to follow its training: not trained on{later}"
            )
        if self.run is not None:
            apart = _apart(report, rank(ServedTowers(self.run), trial, catalogue))
            notes.append(f"NDCG of a user at the wire and with the run's towers: at most {apart:.1e} apart")
            if apart > AGREEMENT and answers.exact:
                failure = (
                    f"the wire must rank as the run's towers do, got an NDCG {apart:.1e} apart; "
                    "the served generation may come from another run"
                )
        return Measured(report, note="; ".join(notes), failure=failure)


@dataclass(frozen=True)
class ServedAnswers:
    """How a server answered a trial."""

    generations: tuple[str, ...]
    missing: int
    """How many told items the generation does not know."""

    exact: bool
    """Whether every answer came from an exhaustive search, or from none."""

    @property
    def sentence(self) -> str:
        """All of it for people."""
        return (
            f"served by generation {', '.join(self.generations)} ({'exact' if self.exact else 'approximate'} "
            f"search), {self.missing} told items unknown to it"
        )


def ask(
    client: Client, trial: Trial, catalogue: Catalogue, units: Units, meter: RankingMeter
) -> ServedAnswers:
    """Send a request for each user of a trial and let `meter` measure the answers."""
    generations: dict[str, None] = {}
    missing: set[str] = set()
    exact = True
    for user in range(len(trial.users)):
        request = request_of(trial, user, catalogue, units)
        response = client.recommend(request)
        generations[response.metadata.generation_id] = None
        missing.update(response.missing_item_ids)
        exact &= response.metadata.search_mode in {pb.SEARCH_MODE_UNSPECIFIED, pb.SEARCH_MODE_EXACT}
        rows = [catalogue.row_of.get(item.item_id, -1) for item in response.results]
        best = np.full((1, meter.RANKS), -1, dtype=np.int64)
        best[0, : len(rows)] = rows
        meter.add_lists(best, trial.targets(user, user + 1, len(catalogue)))
    return ServedAnswers(tuple(generations), len(missing), exact)


def request_of(trial: Trial, user: int, catalogue: Catalogue, units: Units) -> pb.RecommendRequest:
    """What a caller would send for a user: ids, ratings in the data's units, genres in stars."""
    told, hidden = (batch.slice(user, user + 1) for batch in (trial.users, trial.hidden))
    ratings = units.of_stars(told.stars)
    return pb.RecommendRequest(
        user=pb.UserFeatures(
            genre_preferences={
                catalogue.genre_names[genre]: float(told.preferences[0, genre])
                for genre in np.flatnonzero(np.isfinite(told.preferences[0]))
            },
            history=[
                pb.Interaction(item_id=catalogue.item_ids[item], rating=float(rating))
                for item, rating in zip(told.items, ratings, strict=True)
            ],
        ),
        page_size=RankingMeter.RANKS,
        exclude_item_ids=[catalogue.item_ids[item] for item in np.setdiff1d(hidden.items, told.items)],
        intent=pb.INTENT_NEXT if told.asks_next[0] else pb.INTENT_TASTE,
    )


class ServedTowers:
    """The NumPy towers of a run; whoever tells nothing gets the popular items, as from the server."""

    def __init__(self, run: Run) -> None:
        """Embed the catalogue."""
        self._users, self._popularity = user_tower(run.user_tower), run.popularity
        items = item_tower(run.item_tower)
        self._items, self._next_items = items.embed(run.catalogue), items.embed_next(run.catalogue)

    def score(self, users: UserBatch) -> Floats:
        """[B, N] inner products of unit vectors."""
        scores = self._users.embed(users) @ self._items.T
        if users.asks_next.any():
            following = self._users.embed_next(users) @ self._next_items.T
            scores = np.where(users.asks_next[:, None], following, scores)
        return np.where(users.has_features[:, None], scores, self._popularity).astype(np.float32)


def _apart(report: RankingReport, other: RankingReport) -> float:
    """The largest difference of a user's NDCG."""
    return max(float(np.abs(report.per_user[name] - other.per_user[name]).max()) for name in COMPARED)
