"""What can go wrong with what the indexer keeps.

    MovieMatchError
      GenerationError    a generation, or the run it is built from, fails a check
      StoreError         the store cannot do what was asked
      WorseError         a generation is clearly worse than the one that it would replace

The root is that of `data.errors`, where it says what a message gives.
"""

from deepmoviematch.data.errors import MovieMatchError


class GenerationError(MovieMatchError):
    """A generation, or the run it is built from, is damaged, incomplete or of another format."""


class StoreError(MovieMatchError):
    """The store cannot do what was asked, such as roll back to a generation that is gone."""


class WorseError(MovieMatchError):
    """A generation is clearly worse than the one that it would replace."""

    def __init__(self, figures: str) -> None:
        """Say which figure is, with both values."""
        super().__init__(
            f"a generation must not be clearly worse than the current one: {figures}; "
            "publish it all the same with --force"
        )
