"""The moments protocol: what each feature of the moment adds for users whom nothing was fitted by."""

from deepmoviematch.data.dataset import Dataset
from deepmoviematch.trainer.errors import TrainingError
from deepmoviematch.trainer.evaluation.moments import Gain, gains
from deepmoviematch.trainer.evaluation.protocols import new_users
from deepmoviematch.trainer.experiments.contender import for_split
from deepmoviematch.trainer.experiments.plan import Plan
from deepmoviematch.trainer.experiments.table import Table, about
from deepmoviematch.trainer.fit import fit_moments, fit_retrieval
from deepmoviematch.trainer.models.moments import features_of
from deepmoviematch.trainer.recipe import Recipe, RetrievalRecipe


def check_moments(dataset: Dataset, recipe: Recipe, plan: Plan) -> None:
    """Refuse, before anything is fitted, what tells of no moments.

    Raises:
        MovieMatchError: If the recipe ranks nothing, or the data tell of no moments or have too few users.
    """
    if not isinstance(recipe, RetrievalRecipe):
        raise TrainingError(f"this protocol needs a recipe that ranks (retrieval), got {recipe.name}")
    for fold in range(plan.splits):
        if not features_of(new_users(dataset.catalogue, dataset.ratings, plan.seed, fold).train):
            raise TrainingError(
                "this protocol needs ratings at different times or on different devices, got none"
            )


def moments_table(dataset: Dataset, recipe: RetrievalRecipe, plan: Plan) -> Table:
    """What each feature of the moment adds for users whom nothing was fitted or chosen by.

    `recipe` and `dataset` must have passed `check_moments`.
    """
    found: dict[str, list[Gain]] = {}
    settled = []
    for fold in range(plan.splits):
        trial = new_users(dataset.catalogue, dataset.ratings, plan.seed, fold)
        mine = for_split(recipe, fold)
        towers = fit_retrieval(dataset.catalogue, trial.train, mine).towers
        settled.append(towers.recipe.chosen)
        moments, _ = fit_moments(towers, trial.train, features_of(trial.train), mine, "moments")
        for name, gain in gains(towers, moments, trial, dataset.ratings).items():
            found.setdefault(name, []).append(gain)
    rows = {name: Gain.pooled(each).figures(plan.seed) for name, each in found.items()}
    header = about(dataset, "moments", recipe) | {
        "splits": plan.splits,
        "seed": plan.seed,
        "settled": settled,
    }
    notes = (
        "each like of users held out is asked for alone; added: what a feature of its moment adds to the "
        "NDCG@100 by the history alone, with a paired 95 % bootstrap interval over users",
        "hours and weekdays are those of UTC; a fit reads what its own validation users gain by",
    )
    return Table(about=header, rows=rows, notes=notes)
