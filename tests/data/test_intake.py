from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies as st

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.errors import DataError
from deepmoviematch.data.intake import quick_ratings_of, ratings_of
from deepmoviematch.data.leniency import Gate
from deepmoviematch.data.sheets import ID, NUMBER, TIME, CsvSheet

Writer = Callable[..., Path]

COLUMNS = {"userId": ID, "movieId": ID, "rating": NUMBER, "timestamp": TIME}
HEADER = ",".join(COLUMNS)

CELLS = st.sampled_from(
    [
        "1",
        "0318",
        "7",
        "9",
        "a",
        "",
        '"7"',
        '"a',
        'a"',
        '"a"b',
        " 7",
        "4.0",
        "5",
        "-1",
        "nan",
        "1e3",
        "1e39",
        "é",
    ]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from("abc"), st.sampled_from(["1", "7", "9"]), st.sampled_from("45"), st.just("8")
            ),
            st.lists(CELLS, min_size=3, max_size=5),
        ),
        max_size=6,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_quick_look_finds_the_same_or_gives_up(
    canonical: Writer, rows: list[list[str]], newline: str
) -> None:
    folder = canonical(ratings=newline.join([HEADER, *map(",".join, rows), ""]))
    catalogue = Catalogue(
        item_ids=("1", "0318", "7", "9"),
        titles=("",) * 4,
        years=np.zeros(4, dtype=np.int32),
        genre_names=(),
        genres=np.zeros((4, 0), dtype=np.bool_),
    )
    sheet = CsvSheet(folder / "ratings.csv", Gate(), COLUMNS)
    quick = quick_ratings_of(sheet, catalogue)
    try:
        careful = ratings_of(sheet, catalogue, Gate())
    except DataError:
        assert quick is None
    else:
        assert quick is not None
        found = [Dataset("", catalogue, table).digest for table in (quick, careful)]
        assert found[0] == found[1]
