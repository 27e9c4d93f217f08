"""A little catalogue with its ratings, on disk in the canonical form."""

from collections.abc import Callable
from pathlib import Path

import pytest

MOVIES = """\
movieId,title,genres
1,Toy Story (1995),Animation|Comedy
0318,"Shawshank Redemption, The (1994)",Drama
7,"Amélie ""of"" Montmartre (2001) ",Comedy|Romance
9,Blade Runner 2049,(no genres listed)
"""

RATINGS = """\
userId,movieId,rating,timestamp
b,1,4.0,964982703
a,0318,5.0,964982800
b,7,0.5,964982600
a,1,3.5,964982900
"""

Writer = Callable[..., Path]


@pytest.fixture
def canonical(tmp_path: Path) -> Writer:
    """Writes a data folder; `ratings` and `movies` replace the good files' text."""

    def write(*, ratings: str | bytes = RATINGS, movies: str | bytes = MOVIES) -> Path:
        for name, text in (("ratings.csv", ratings), ("movies.csv", movies)):
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write
