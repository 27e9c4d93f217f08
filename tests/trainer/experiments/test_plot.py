import io

import matplotlib.image
import pytest

from deepmoviematch.trainer.experiments.plot import png
from deepmoviematch.trainer.experiments.table import Table


def table(protocol: str, models: int, *, name: str = "d") -> Table:
    interval = {"mean": 0.4, "low": 0.3, "high": 0.5}
    rows = {f"{name} {number}": {"ndcg@100": interval, "coverage@10": 0.1} for number in range(models)}
    return Table(about={"protocol": protocol, "dataset": name, "asked_users": 9}, rows=rows)


@pytest.mark.parametrize(("panels", "columns", "lines"), [(1, 1, 1), (4, 4, 1), (5, 4, 2)])
def test_a_picture_has_a_panel_for_each_protocol(panels: int, columns: int, lines: int) -> None:
    picture = matplotlib.image.imread(io.BytesIO(png([table(f"p{i}", 3) for i in range(panels)])))
    height, width = picture.shape[:2]
    assert width == pytest.approx(150 * max(3.7 * columns, 5.2), abs=2)
    assert height == pytest.approx(150 * (0.35 + 2.0 * lines), abs=2)
    assert picture.std() > 0.05


def test_more_models_make_a_taller_picture() -> None:
    few, many = (matplotlib.image.imread(io.BytesIO(png([table("p", models)]))) for models in (2, 8))
    assert many.shape[0] > few.shape[0]


def test_names_with_signs_of_mathematics_are_drawn_as_they_are() -> None:
    assert png([table("p", 2, name=r"$\frac$")])
