"""What can go wrong in training.

    MovieMatchError
      RecipeError      a recipe has a setting that no run could use
      TrainingError    a run cannot start, go on or be read

The root is that of `data.errors`, where it says what a message gives.
"""

from deepmoviematch.data.errors import MovieMatchError


class RecipeError(MovieMatchError):
    """A recipe has an unknown setting or a value out of range."""


class TrainingError(MovieMatchError):
    """A run cannot start, go on or be read, such as when its loss is no longer a number."""
