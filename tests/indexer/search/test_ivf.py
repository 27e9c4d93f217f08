"""What only lists of neighbours do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.ivf import IvfIndex
from deepmoviematch.indexer.search.kinds import restore
from deepmoviematch.indexer.search.vectors import FlatIndex

SIZE, DIM = 3000, 8
VECTORS: Floats = np.random.default_rng(0).normal(size=(SIZE, DIM)).astype(np.float32)


def test_scores_are_those_of_exact_search_to_the_bit() -> None:
    index = IvfIndex.of(VECTORS)
    index.breadth = 50  # of 110 lists, so that not every vector is compared
    [(rows, scores, exact)] = index.nearest(VECTORS[3:4], [5])
    assert not exact
    assert scores == [
        float(FlatIndex.of(VECTORS).scores(VECTORS[3:4], np.array([[row]]))[0, 0]) for row in rows
    ]


def test_vectors_of_any_number_are_divided() -> None:
    for size in (1, 2, 3, 10):
        assert IvfIndex.of(VECTORS[:size]).nearest(VECTORS[:1], [1])[0].rows == [
            int(np.argmax(VECTORS[:size] @ VECTORS[0]))
        ]


def lists(index: Any) -> Any:
    return faiss.downcast_index(index.base_index)


def row_out_of_range(index: Any) -> None:
    faiss.rev_swig_ptr(lists(index).invlists.get_ids(0), 1)[0] = SIZE


def row_twice(index: Any) -> None:
    ids = faiss.rev_swig_ptr(lists(index).invlists.get_ids(0), 2)
    ids[0] = ids[1]


def breadth(index: Any) -> None:
    lists(index).nprobe = 1 << 30


def no_breadth(index: Any) -> None:
    lists(index).nprobe = IvfIndex.first_breadth - 1


def too_few_centroids(index: Any) -> None:
    lists(index).quantizer.reset()


def another_metric(index: Any) -> None:
    index.refine_index.metric_type = faiss.METRIC_L2


def test_lists_in_a_file_that_the_index_names_are_refused(tmp_path: Path) -> None:
    """FAISS would map that file, whatever it is, and end the process once it is cut."""
    index = IvfIndex.of(VECTORS)._index
    elsewhere: Any = faiss.OnDiskInvertedLists(lists(index).nlist, 4 * DIM, str(tmp_path / "lists"))
    elsewhere.merge_from_1(lists(index).invlists)
    lists(index).replace_invlists(elsewhere)
    contents = faiss.serialize_index(index)
    for each in (contents.tobytes(), contents):  # read, and as if mapped
        with pytest.raises(GenerationError, match="must hold its own lists, got OnDiskInvertedLists"):
            restore("ivf", each, dim=DIM, size=SIZE)


@pytest.mark.parametrize(
    "damage", [row_out_of_range, row_twice, breadth, no_breadth, too_few_centroids, another_metric]
)
def test_lists_that_lead_elsewhere_are_refused(damage: Callable[[Any], None]) -> None:
    made: Any = faiss.deserialize_index(np.frombuffer(IvfIndex.of(VECTORS).to_bytes(), dtype=np.uint8))
    damage(made)
    with pytest.raises(GenerationError, match="must"):
        restore("ivf", faiss.serialize_index(made).tobytes(), dim=DIM, size=SIZE)


def test_another_index_with_exact_scores_is_refused() -> None:
    other: Any = faiss.IndexRefineFlat(faiss.IndexPQ(DIM, 4, 4, faiss.METRIC_INNER_PRODUCT))
    other.train(VECTORS)
    other.add(VECTORS)
    with pytest.raises(GenerationError, match="lists over flat vectors"):
        restore("ivf", faiss.serialize_index(other).tobytes(), dim=DIM, size=SIZE)


@pytest.mark.parametrize("shape", [(SIZE, DIM + 1), (SIZE - 1, DIM)])
def test_vectors_of_another_number_or_width_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(GenerationError, match=f"must hold {shape[0]} vectors of width {shape[1]}"):
        restore("ivf", IvfIndex.of(VECTORS).to_bytes(), dim=shape[1], size=shape[0])


@pytest.mark.parametrize("length", [0, 4, 100, 10_000, -1])
def test_a_file_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(GenerationError):
        restore("ivf", IvfIndex.of(VECTORS).to_bytes()[:length], dim=DIM, size=SIZE)


@pytest.mark.parametrize("place", range(0, 400, 8))
def test_a_number_of_the_header_that_lies_is_refused_or_harmless(
    place: int,
) -> None:
    contents = bytearray(IvfIndex.of(VECTORS[:300]).to_bytes())
    contents[place : place + 8] = (1 << 28).to_bytes(8, "little")
    try:
        index = restore("ivf", bytes(contents), dim=DIM, size=300)
    except GenerationError:
        return
    assert set(index.search(VECTORS[:5], 10).rows.ravel().tolist()) <= set(range(300))
