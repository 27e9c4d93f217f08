from pathlib import Path
from typing import Any

import pytest

from deepmoviematch.trainer.errors import RecipeError
from deepmoviematch.trainer.recipe import RetrievalRecipe, SeedRecipe, load_recipe, recipe_of


@pytest.mark.parametrize("name", ["seed", "retrieval"])
def test_a_shipped_recipe_is_what_its_description_says(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe_of(recipe.to_dict()) == recipe
    assert recipe.name == name


def test_shipped_recipes_are_the_defaults_of_their_families() -> None:
    assert load_recipe("seed") == SeedRecipe(name="seed")
    assert load_recipe("retrieval") == RetrievalRecipe(name="retrieval")


def test_the_seed_recipe_has_the_authors_settings() -> None:
    recipe = load_recipe("seed")
    assert isinstance(recipe, SeedRecipe)
    assert (recipe.hidden, recipe.embedding_dim) == ((256, 128), 32)
    assert (recipe.epochs, recipe.batch_size, recipe.seed, recipe.test_share) == (30, 256, 1, 0.2)


def test_a_file_of_ones_own_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('family = "retrieval"\nembedding_dim = 8\nlearning_rate = 1e-2\n')
    recipe = load_recipe(str(path), {"epochs": 3})
    assert recipe == RetrievalRecipe(name="small", embedding_dim=8, learning_rate=0.01, epochs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, r"unknown setting\(s\) epoch; the retrieval family has alone_share, "),
        ({"epochs": -1}, "epochs must be at least 0, got -1"),
        ({"epochs": 1.5}, "epochs must be of type int, got 1.5"),
        ({"embedding_dim": 1025}, "embedding_dim must be at most 1024, got 1025"),
        ({"refit": "False"}, "refit must be true or false, got 'False'"),
        ({"dropout": True}, "dropout must be of type float, got True"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"hidden": [64, 0]}, r"hidden must be widths of at least 1, got \(64, 0\)"),
        ({"hidden": "wide"}, "hidden must be a list of whole numbers, got 'wide'"),
        ({"hidden": 5}, "hidden must be a list of whole numbers, got 5"),
        ({"hidden": ["a"]}, r"hidden must be a list of whole numbers, got \['a'\]"),
        ({"history_share": [0.8, 0.3]}, r"history_share must be a pair 0 < low <= high < 1"),
        ({"history_share": [0.8]}, r"history_share must be a list of 2 numbers, got \[0.8\]"),
        ({"triplet_margin": 0}, "triplet_margin must be positive, got 0.0"),
        ({"distillation": 1.01}, r"distillation must be in 0\.\.1, got 1.01"),
        ({"learning_rate": float("nan")}, "learning_rate must be between 0 and 1, got nan"),
        ({"triplet_weight": float("inf")}, "triplet_weight must be finite, got inf"),
        ({"seed": -1}, r"seed must be in 0\.\.2147483647, got -1"),
        ({"family": "other"}, "family must be one of seed, retrieval, got 'other'"),
        ({"family": ["seed"]}, r"family must be one of seed, retrieval, got \['seed'\]"),
        ({"family": {"seed": 1}}, "family must be one of seed, retrieval, got {'seed': 1}"),
        ({"learning_rate": 10**400}, r"learning_rate must be at most 1.8e\+308, got a number of 1329 bits"),
    ],
)
def test_a_setting_that_no_run_could_use_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("retrieval", settings)


def test_a_file_with_a_byte_order_mark_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('family = "seed"\n', encoding="utf-8-sig")
    assert load_recipe(str(path)) == SeedRecipe(name="small")


@pytest.mark.parametrize("text", ["family = ", "\xff"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match="must be a readable TOML file"):
        load_recipe(str(path))


def test_a_recipe_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(RecipeError, match=r"must be one of retrieval, seed or a \.toml file, got 'sed'"):
        load_recipe("sed")
