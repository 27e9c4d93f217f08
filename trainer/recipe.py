"""What a training run is made with: one frozen recipe, read from a small TOML file.

`load_recipe("retrieval")` reads a recipe that ships with the package,
`load_recipe("mine.toml")` one of yours. A file names its `family` and only what
differs from the family's defaults.
"""

import math
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, get_args, get_origin

from deepmoviematch.trainer.errors import RecipeError

WIDEST = 1024
"""Embedding; far wider ones take more memory than there is."""

FULL_SOFTMAX = 4_000
"""Items of the largest catalogue whose softmax runs over all of it."""

DRAWN = 2_000
"""Items that a step draws of a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonRecipe:
    """What every family of recipes has."""

    family: ClassVar[str]

    name: str
    """What people call it; the file's stem."""

    embedding_dim: int
    """Width of the embedding that both towers learn."""

    hidden: tuple[int, ...] = (256, 128)
    """Widths of the hidden layers of every MLP."""

    epochs: int
    """Passes over the training data."""

    batch_size: int
    """Rows (seed) or users (retrieval) in a step."""

    learning_rate: float = 1e-3
    """Adam's step size, at its highest."""

    seed: int = 1
    """Decides splits, initial weights, order and dropout; same seed, same bits."""

    def __post_init__(self) -> None:
        """Refuse a setting that no run could use."""
        self._check("embedding_dim", self.embedding_dim <= WIDEST, f"at most {WIDEST}")
        self._check("batch_size", self.batch_size >= 1, "at least 1")
        self._check("hidden", all(width >= 1 for width in self.hidden), "widths of at least 1")
        self._check("learning_rate", 0 < self.learning_rate < 1, "between 0 and 1")
        self._check("seed", 0 <= self.seed < 2**31, "in 0..2147483647")
        for setting, value in asdict(self).items():
            self._check(setting, value != math.inf, "finite")

    def _check(self, setting: str, holds: bool, rule: str) -> None:
        if not holds:
            raise RecipeError(f"{setting} must be {rule}, got {getattr(self, setting)!r}")

    def to_dict(self) -> dict[str, Any]:
        """Every setting as plain values, `family` first, for `recipe_of`."""
        settings = {"family": self.family} | asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRecipe(CommonRecipe):
    """Two content towers that regress the scaled rating: the model as its author described it."""

    family: ClassVar[str] = "seed"

    embedding_dim: int = 32
    epochs: int = 30
    batch_size: int = 256

    average_rating: bool = True
    """Whether the item tower sees the item's average rating, as in the exercise's item matrix."""

    test_share: float = 0.2
    """Share of the rows that are never trained on."""

    def __post_init__(self) -> None:
        """Refuse a setting that no run could use."""
        CommonRecipe.__post_init__(self)
        for setting in ("embedding_dim", "epochs"):
            self._check(setting, getattr(self, setting) >= 1, "at least 1")
        self._check("test_share", 0 < self.test_share < 1, "between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRecipe(CommonRecipe):
    """A history tower and an id tower trained with a softmax over the catalogue."""

    family: ClassVar[str] = "retrieval"

    embedding_dim: int = 0
    """As above; 0 leaves it to the data (`trainer/settled.py`)."""

    epochs: int = 0
    """As above; 0 leaves it to the data."""

    batch_size: int = 48
    learning_rate: float = 2e-3

    start_decay: float = 2.0
    """Decoupled decay of the tables towards where they start, EASE's factors (`models/adam.py`), for each 64
    numbers of the embedding beyond the usual 64: wide rows, of which most numbers say little, wander."""

    dropout: float = 0.3
    """Share of hidden units that a step leaves out."""

    history_share: tuple[float, float] = (0.3, 0.8)
    """A step keeps between these shares of a user's ratings as history and asks for the other likes."""

    alone_share: float = 0.3
    """Share of the long histories of which a step tells the likes alone, as some callers do."""

    short_weight: float = 0.5
    """Weight of the loss over short histories (one to six likes)."""

    stated_weight: float = 0.3
    """Weight of the loss over stated preferences without a history."""

    gate: float = 1.3
    """How fast a growing history outweighs stated preferences: their share is (1 + n) ** -gate."""

    distillation: float = 0.7
    """Share of the loss over long histories that follows the teacher, EASE, instead of the held-out likes."""

    short_distillation: float = 0.85
    """The same over short ones, whose teacher is what similar users like."""

    stated_distillation: float = 0.5
    """The same over favourite genres, whose teacher is what users like who might tick the same."""

    teacher_temperature: float = 0.1
    """Divides EASE's scores before their softmax."""

    ease_penalty: float = 0.0
    """L2 penalty of the closed-form EASE, users balanced, that teaches and gives the towers their start;
    0 leaves it to the data."""

    rated_weight: float = 0.75
    """What it counts for EASE that an item was rated at all, where 1 is that it was liked besides; less where
    the data say less of that (`models/interest.py`)."""

    interest: float = 0.3
    """What a rating that is no like counts to the teachers as a sign of interest, where a like counts 1; as
    above."""

    softmax_items: int = 0
    """Items that a step's softmax draws beside those it asks for, all if no more are; 0 goes by size, and
    draws 1,000 where order is learnt."""

    triplet_weight: float = 0.0
    """Weight of the triplet loss over the same questions; 0 leaves it out."""

    triplet_margin: float = 0.1
    """How much more the triplet loss wants an item to score that is asked for, -1 to 1 being all scores."""

    sequence_epochs: int = 7
    """Passes of the second phase, which learns from the order of histories; 0 leaves it out."""

    transition_dim: int = 256
    """Width of the closed-form transitions that users who ask what is next are matched by too."""

    transition_penalty: float = 100.0
    """L2 penalty of the transitions."""

    transition_weight: float = 0.15
    """Weight of the transitions' scores beside the towers', both at one standard deviation."""

    moment_epochs: int = 5
    """Passes of the phase that learns what hour, weekday and device add, and of those before it that
    ask whether they add anything, at the least; 0 leaves them out."""

    rating_head: bool = True
    """Whether to predict ratings too, beside the ranking; never where all ratings are equal."""

    validation_share: float = 0.1
    """Share of the users held out to measure each epoch; 0 trains on everyone, for all the epochs."""

    patience: int = 8
    """Epochs whose NDCG of the validation users is clearly worse before training may end; 0 runs them all."""

    refit: bool = True
    """Whether the towers that were measured are fitted again, on everyone, before they are published."""

    def __post_init__(self) -> None:
        """Refuse a setting that no run could use."""
        CommonRecipe.__post_init__(self)
        for setting in ("dropout", "validation_share"):
            self._check(setting, 0 <= getattr(self, setting) < 1, "at least 0 and below 1")
        for setting in (
            "embedding_dim",
            "epochs",
            "ease_penalty",
            "start_decay",
            "short_weight",
            "stated_weight",
            "softmax_items",
            "triplet_weight",
            "sequence_epochs",
            "moment_epochs",
            "transition_weight",
            "patience",
        ):
            self._check(setting, getattr(self, setting) >= 0, "at least 0")
        self._check("alone_share", 0 <= self.alone_share <= 1, "in 0..1")
        self._check("transition_dim", self.transition_dim >= 1, "at least 1")
        for setting in (
            "gate",
            "teacher_temperature",
            "rated_weight",
            "triplet_margin",
            "transition_penalty",
        ):
            self._check(setting, getattr(self, setting) > 0, "positive")
        for setting in ("distillation", "short_distillation", "stated_distillation", "interest"):
            self._check(setting, 0 <= getattr(self, setting) <= 1, "in 0..1")
        low, high = self.history_share
        self._check("history_share", 0 < low <= high < 1, "a pair 0 < low <= high < 1")

    @property
    def chosen(self) -> dict[str, float]:
        """The settings that may be left to the data, by name."""
        return {name: getattr(self, name) for name in ("embedding_dim", "ease_penalty", "epochs")}

    def drawn_items(self, items: int) -> int:
        """How many of so many items a step draws: all of up to `FULL_SOFTMAX`, unless the recipe says."""
        return self.softmax_items or (items if items <= FULL_SOFTMAX else DRAWN)


Recipe: TypeAlias = SeedRecipe | RetrievalRecipe

FAMILIES: dict[str, type[Recipe]] = {kind.family: kind for kind in (SeedRecipe, RetrievalRecipe)}


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read the recipe of that name, or the TOML file at that path.

    Args:
        name: A shipped recipe ("seed", "retrieval") or the path of a `.toml` file.
        overrides: Settings that replace the file's.

    Raises:
        RecipeError: If there is no such recipe, or it has an unknown or impossible setting.
    """
    recipes = resources.files("deepmoviematch.trainer.recipes")
    path, shipped = Path(name), recipes / f"{name}.toml"
    if path.suffix != ".toml" and not shipped.is_file():
        names = sorted(entry.name[:-5] for entry in recipes.iterdir() if entry.name.endswith(".toml"))
        raise RecipeError(f"a recipe must be one of {', '.join(names)} or a .toml file, got {name!r}")
    try:
        text = (path if path.suffix == ".toml" else shipped).read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise RecipeError(f"a recipe must be a readable TOML file, got {name!r}: {error}") from error
    return recipe_of({"name": path.stem} | values | dict(overrides or {}))


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """Build the recipe that `Recipe.to_dict` described.

    Raises:
        RecipeError: If a setting is unknown, of the wrong type or out of range.
    """
    settings = dict(values)
    family = settings.pop("family", None)
    if not isinstance(family, str) or family not in FAMILIES:
        raise RecipeError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    known = {field.name: field for field in fields(FAMILIES[family])}
    if unknown := sorted(settings.keys() - known):
        raise RecipeError(
            f"unknown setting(s) {', '.join(unknown)}; the {family} family has {', '.join(sorted(known))}"
        )
    for setting, value in settings.items():
        settings[setting] = _typed(setting, value, known[setting].type)
    return FAMILIES[family](**settings)


def _typed(setting: str, value: object, wanted: Any) -> object:
    """The value as the field's type, or an error: TOML's 1 is a float where one is wanted."""
    if get_origin(wanted) is tuple and isinstance(value, list | tuple):
        types = get_args(wanted)
        if types[-1] is Ellipsis or len(types) == len(value):
            with suppress(RecipeError):  # the list's own says more than that of a part
                return tuple(_typed(setting, part, types[0]) for part in value)
    elif wanted is float and type(value) is int:
        if abs(value) > sys.float_info.max:
            got = f"a number of {value.bit_length()} bits"
            raise RecipeError(f"{setting} must be at most {sys.float_info.max:.1e}, got {got}")
        return float(value)
    elif type(value) is wanted:
        return value
    raise RecipeError(f"{setting} must be {_words(wanted)}, got {value!r}")


def _words(wanted: Any) -> str:
    """What a setting of that type must be, for people."""
    if wanted is bool:
        return "true or false"
    if get_origin(wanted) is not tuple:
        return f"of type {wanted.__name__}"
    first, *others = get_args(wanted)
    count = "" if Ellipsis in others else f"{1 + len(others)} "
    return f"a list of {count}{'whole ' if first is int else ''}numbers"
