"""What only a graph of neighbours does."""

import resource
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest

from deepmoviematch.data.arrays import Floats
from deepmoviematch.indexer.errors import GenerationError
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.search.kinds import restore

SIZE, DIM = 6000, 16
VECTORS: Floats = np.random.default_rng(0).normal(size=(SIZE, DIM)).astype(np.float32)


def level(graph: Any) -> None:
    graph.levels.push_back(1)


def entry(graph: Any) -> None:
    graph.entry_point = SIZE


def breadth(graph: Any) -> None:
    graph.efSearch = 1 << 30


def offset(graph: Any) -> None:
    offsets = faiss.vector_to_array(graph.offsets)
    offsets[5] += 1
    faiss.copy_array_to_vector(offsets, graph.offsets)


@pytest.mark.parametrize("damage", [level, entry, breadth, offset])
def test_a_graph_that_leads_elsewhere_is_refused(damage: Callable[[Any], None]) -> None:
    made: Any = faiss.deserialize_index(np.frombuffer(HnswIndex.of(VECTORS).to_bytes(), dtype=np.uint8))
    damage(made.hnsw)
    with pytest.raises(GenerationError):
        restore("hnsw", faiss.serialize_index(made).tobytes(), dim=DIM, size=SIZE)


def test_a_link_to_no_vector_is_refused() -> None:
    contents = bytearray(HnswIndex.of(VECTORS).to_bytes())
    made: Any = faiss.deserialize_index(np.frombuffer(bytes(contents), dtype=np.uint8))
    first = faiss.vector_to_array(made.hnsw.neighbors)[:8].tobytes()
    at = contents.index(first)
    contents[at : at + 4] = SIZE.to_bytes(4, "little")
    with pytest.raises(GenerationError, match="must be whole"):
        restore("hnsw", bytes(contents), dim=DIM, size=SIZE)


@pytest.mark.parametrize("length", [0, 4, 100, 10_000, -1])
def test_a_file_that_is_cut_is_refused(length: int) -> None:
    contents = HnswIndex.of(VECTORS).to_bytes()[:length]
    with pytest.raises(GenerationError):
        restore("hnsw", contents, dim=DIM, size=SIZE)


def test_a_file_that_claims_more_than_it_has_is_refused_without_the_memory() -> None:
    contents = bytearray(HnswIndex.of(VECTORS).to_bytes())
    first = 37  # after the letters, d, ntotal, two numbers of no use, a flag and the metric
    assert int.from_bytes(contents[first : first + 8], "little") < 10  # how many levels there are
    contents[first : first + 8] = (1 << 28).to_bytes(8, "little")  # of 8 bytes each: 2 GiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GenerationError, match="must be whole"):
        restore("hnsw", bytes(contents), dim=DIM, size=SIZE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
