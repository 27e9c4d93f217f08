"""recommend-all: for everyone what the server would answer, whatever happens on the way."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pyarrow import parquet

from deepmoviematch.data.catalogue import Catalogue
from deepmoviematch.data.readers import read
from deepmoviematch.indexer.search.hnsw import HnswIndex
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.__main__ import main, parser
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.question import Listing
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.tools.recommend_all import Audience
from deepmoviematch.v1 import recommender_pb2 as pb

ROOT = Path(__file__).parents[3]
USERS = 40


def write_data(folder: Path, catalogue: Catalogue, *, top: float = 5.0, seed: int = 0) -> Path:
    """Ratings by `USERS` users, of which the first rated everything and the second nothing that is known."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    items = catalogue.item_ids
    rows = [("all", item) for item in items] + [("stranger", "unheard of")]
    rows += [
        (f"u{user}", items[item])
        for user in range(USERS - 2)
        for item in rng.choice(len(items), rng.integers(1, 9), replace=False)
    ]
    lines = [
        f"{user},{item},{top * rng.integers(1, 11) / 10:g},{rng.integers(10**9)}\n" for user, item in rows
    ]
    lines[-1] = ",".join([*rows[-1], f"{top:g}", "7"]) + "\n"
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(lines))
    movies = [f'{item},"Film (1999)",Drama\n' for item in (*items, "unheard of")]
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(movies))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, catalogues: SimpleNamespace) -> Path:
    return write_data(tmp_path_factory.mktemp("everyone") / "data", catalogues.films())


@pytest.fixture
def recommend_all(
    store: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Path, str]]:
    """Runs the command; gives its folder and what it said on standard output or, if it failed, error."""

    def run(*words: str, of: Path = data, out: Path = tmp_path / "out") -> tuple[Path, str]:
        status = main(["recommend-all", "--store", str(store), "--data", str(of), "--out", str(out), *words])
        said = capsys.readouterr()
        assert (status == 1) == said.err.startswith("error: ")
        return out, said.err if status else said.out

    return run


def rows_by_user(out: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in parquet.read_table(out).to_pylist():
        found.setdefault(row["user_id"], []).append(row)
    return found


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def asked_of(data: Path) -> dict[str, pb.RecommendRequest]:
    """What each user's own request would be."""
    requests: dict[str, pb.RecommendRequest] = {}
    for line in (data / "ratings.csv").read_text().splitlines()[1:]:
        user, item, rating, seconds = line.split(",")
        history = requests.setdefault(user, pb.RecommendRequest(page_size=7)).user.history
        history.add(item_id=item, rating=float(rating), time=Timestamp(seconds=int(seconds)))
    return requests


def assert_as_served(out: Path, data: Path, recommend: Any) -> None:
    found = rows_by_user(out)
    for user, request in asked_of(data).items():
        answer = recommend(request)
        assert [
            (row["rank"], row["item_id"], row["score"], row["generation_id"]) for row in found.pop(user, [])
        ] == [(item.rank, item.item_id, item.score, answer.metadata.generation_id) for item in answer.results]
    assert not found


def test_everyone_gets_what_the_server_would_answer_to_the_bit(
    recommend_all: Callable[..., Any], running: SimpleNamespace, data: Path
) -> None:
    out, said = recommend_all("--count", "7")
    assert_as_served(out, data, running.stub.Recommend)
    rows, name = (USERS - 1) * 7, running.stub.Recommend(pb.RecommendRequest()).metadata.generation_id
    assert said.splitlines() == [  # whoever rated everything gets nothing
        f"{rows} rows for {USERS} users in 1 part: {out} (generation {name})",
        "1 of them have no usable history and got popular items",
        "1 of them have no row: they rated all that may be returned",
        "1 ratings were left out: the generation does not know their items",
    ]


def test_whoever_is_unknown_gets_popular_items_and_is_marked(
    recommend_all: Callable[..., Any], recommender: Any
) -> None:
    out, _ = recommend_all()
    found = rows_by_user(out)
    names = recommender.generation.catalogue.item_ids
    popular = [names[row] for row in recommender.generation.popular[:10]]
    assert [row["item_id"] for row in found["stranger"]] == popular
    assert {row["source"] for row in found.pop("stranger")} == {"popularity"}
    assert {row["source"] for rows in found.values() for row in rows} == {"retrieval"}


def test_ratings_on_another_scale_mean_the_same_stars(
    tmp_path: Path,
    publish: Callable[..., Any],
    serve: Callable[..., Any],
    catalogues: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generation = publish(tmp_path / "store", scale=(1.0, 10.0))
    data = write_data(tmp_path / "data", catalogues.films(), top=10.0)
    words = ["--store", str(tmp_path / "store"), "--data", str(data), "--out", str(tmp_path / "out")]
    assert main(["recommend-all", *words, "--count", "7"]) == 0
    current = Current()
    current.set(Recommender(generation))
    with serve(current) as running:
        assert_as_served(tmp_path / "out", data, running.stub.Recommend)


def test_everyone_may_ask_what_is_next(
    recommend_all: Callable[..., Any], running: SimpleNamespace, data: Path
) -> None:
    out, _ = recommend_all("--count", "7", "--next")

    def recommend(request: pb.RecommendRequest) -> Any:
        request.intent = pb.INTENT_NEXT
        return running.stub.Recommend(request)

    assert_as_served(out, data, recommend)


def test_it_says_where_the_generation_does_not_know_what_is_next(
    recommend_all: Callable[..., Any],
    tmp_path: Path,
    publish: Callable[..., Any],
) -> None:
    publish(tmp_path / "old", of_old=True)
    line = "the generation knows no order, so these are what suits each user, not what is next"
    for of_old, asks_next in ((True, True), (True, False), (False, True)):
        words = ["--resume", *["--next"] * asks_next, *["--store", str(tmp_path / "old")] * of_old]
        out = tmp_path / f"{of_old} {asks_next}"
        assert (line in recommend_all(*words, out=out)[1].splitlines()) == (of_old and asks_next)
        assert json.loads(recommend_all(*words, "--json", out=out)[1])["knows_order"] != of_old


def test_a_filter_holds_for_everyone(
    recommend_all: Callable[..., Any], running: SimpleNamespace, data: Path
) -> None:
    words = 'genres:"Horror" AND year > 1982'
    out, _ = recommend_all("--count", "7", "--filter", words)

    def recommend(request: pb.RecommendRequest) -> Any:
        request.filter = words
        return running.stub.Recommend(request)

    assert_as_served(out, data, recommend)
    assert "filter" in recommend_all("--resume", "--count", "7")[1]
    assert "--filter must compare a field" in recommend_all("--filter", "taste = 5", out=out / "other")[1]


def test_as_of_a_time_later_ratings_are_as_if_they_were_not_there(
    recommend_all: Callable[..., Any], running: SimpleNamespace, data: Path
) -> None:
    out, _ = recommend_all("--count", "7", "--as-of", "1986-01-01")

    def recommend(request: pb.RecommendRequest) -> Any:
        request.as_of.FromDatetime(datetime(1986, 1, 1))
        return running.stub.Recommend(request)

    assert_as_served(out, data, recommend)
    assert rows_by_user(out)["all"]  # who has not rated everything yet


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-02", 86_400), ("1970-01-01T02:00:01.5+02:00", 1), ("1969-12-31T23:59:59", -1)],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str, seconds: int) -> None:
    words = ["recommend-all", "--store", "s", "--data", "d", "--out", "o", "--as-of"]
    assert parser().parse_args([*words, text]).as_of == seconds
    with pytest.raises(SystemExit):
        parser().parse_args([*words, "yesterday"])


def test_as_of_a_time_needs_times(recommend_all: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\na,6,4\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n6,Heat (1995),Action\n")
    assert "--as-of needs ratings with times" in recommend_all("--as-of", "1986-01-01", of=tmp_path)[1]


def test_an_index_that_may_miss_items_is_not_asked(
    generation: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = generation.index.exact.view, generation.next_index.exact.view
    index, next_index = map(HnswIndex.of, vectors)
    approximate = replace(generation, index=index, next_index=next_index)
    for name in ("nearest", "search"):
        monkeypatch.setattr(HnswIndex, name, lambda *_: pytest.fail("an approximate search"))
    audience = Audience.of(read(data), approximate)
    for asks_next in (False, True):
        questions = audience.questions(0, USERS, Listing(3), asks_next=asks_next)
        assert all(answer.exact for answer in audience.recommender.recommend_batch(questions))


def test_the_parts_are_the_table_in_pieces(
    recommend_all: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = recommend_all(out=tmp_path / "whole")
    monkeypatch.setattr("deepmoviematch.server.tools.recommend_all.PART_ROWS", 70)
    pieces, said = recommend_all("--json", out=tmp_path / "pieces")
    assert json.loads(said)["parts"] == 6
    assert [path.name for path in sorted(pieces.glob("*.parquet"))] == [
        f"part-0000{n}.parquet" for n in range(6)
    ]
    assert parquet.read_table(pieces).equals(parquet.read_table(whole))


def test_the_same_asked_again_gives_the_same_bytes(recommend_all: Callable[..., Any], tmp_path: Path) -> None:
    first, second = (recommend_all(out=tmp_path / name)[0] for name in ("first", "second"))
    assert contents(first) == contents(second)


def test_resuming_what_is_finished_changes_nothing(recommend_all: Callable[..., Any]) -> None:
    out, said = recommend_all("--resume")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    again, repeated = recommend_all("--resume")
    assert repeated == said
    assert {path: path.stat().st_mtime_ns for path in again.glob("*.parquet")} == before


def test_resuming_keeps_to_the_generation_that_was_begun_with(
    tmp_path: Path, publish: Callable[..., Any], data: Path
) -> None:
    first = publish(tmp_path / "store")
    words = ["recommend-all", "--store", str(tmp_path / "store"), "--data", str(data)]
    words += ["--out", str(tmp_path / "out"), "--resume"]
    assert main(words) == 0
    manifest = json.loads((tmp_path / "out/_manifest.json").read_text())
    (tmp_path / "out/_manifest.json").write_text(json.dumps(manifest | {"parts": {}}))
    second = publish(tmp_path / "store", seed=5)
    assert Store(tmp_path / "store").current() == second.id
    assert main(words) == 0
    assert {row["generation_id"] for row in parquet.read_table(tmp_path / "out").to_pylist()} == {first.id}
    assert main([*words, "--generation", second.id]) == 1


def test_it_goes_on_only_with_what_was_begun(
    recommend_all: Callable[..., Any], tmp_path: Path, catalogues: SimpleNamespace
) -> None:
    recommend_all()
    assert "--resume goes on with it" in recommend_all()[1]
    assert "count 10, got 11" in recommend_all("--resume", "--count", "11")[1]
    other = write_data(tmp_path / "other", catalogues.films(), seed=1)
    assert "data_digest" in recommend_all("--resume", of=other)[1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "mine", "must be empty, got notes.txt in it"),
        ("_manifest.json", "{", "must be a manifest of format 1"),
        ("_manifest.json", '{"format": 2}', "must be a manifest of format 1, got ValueError('format 2')"),
        ("_manifest.json", "[]", "must be a manifest of format 1"),
    ],
)
def test_it_does_not_touch_a_folder_that_is_not_its_own(
    recommend_all: Callable[..., Any], tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    out, said = recommend_all("--resume")
    assert message in said
    assert contents(out) == {name: text.encode()}


@pytest.mark.parametrize("words", [["--filter", "nonsense("], ["--generation", "g000009-00000000"]])
def test_what_is_refused_leaves_no_folder_behind(recommend_all: Callable[..., Any], words: list[str]) -> None:
    out, said = recommend_all(*words)
    assert "must " in said
    assert not out.exists()


def test_a_file_in_place_of_the_folder_is_named(recommend_all: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    out, said = recommend_all()
    assert said.startswith(f"error: {out} must be a folder to write to, got ")
    assert out.read_text() == "mine"


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"other"), Path.unlink])
def test_a_part_that_changed_is_not_taken_for_done(
    recommend_all: Callable[..., Any], change: Callable[[Path], object]
) -> None:
    out, _ = recommend_all()
    change(out / "part-00000.parquet")
    assert "part-00000.parquet must " in recommend_all("--resume")[1]


def test_ratings_off_the_scale_are_refused_by_user(
    recommend_all: Callable[..., Any], tmp_path: Path, data: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    with (other / "ratings.csv").open("a") as file:
        file.write("generous,6,8,1\n")
    said = recommend_all(of=other)[1]
    assert "ratings must be 0.5 to 5, the scale of g" in said
    assert "got 8 by user generous" in said


def test_an_installation_that_only_serves_is_told_what_is_missing(
    recommend_all: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "deepmoviematch.server.tools.recommend_all")
    monkeypatch.setattr(sys.modules["deepmoviematch.server.tools"], "recommend_all", None)
    monkeypatch.delattr(sys.modules["deepmoviematch.server.tools"], "recommend_all")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "install deepmoviematch[train]" in recommend_all()[1]


def in_pieces(store: Path, data: Path, out: Path) -> subprocess.Popen[bytes]:
    """The command in a process of its own, which writes a part for every user."""
    script = (
        "import sys; from deepmoviematch.server import __main__;"
        "from deepmoviematch.server.tools import recommend_all; recommend_all.PART_ROWS = 1;"
        "sys.exit(__main__.main(sys.argv[1:]))"
    )
    words = ["--store", str(store), "--data", str(data), "--out", str(out), "--resume"]
    return subprocess.Popen(
        [sys.executable, "-c", script, "recommend-all", *words],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def test_a_killed_process_is_taken_over_where_it_was(store: Path, data: Path, tmp_path: Path) -> None:
    assert in_pieces(store, data, tmp_path / "calm").wait(60) == 0
    out, kills = tmp_path / "killed", 0
    for done in (1, 9):
        with in_pieces(store, data, out) as process:
            while len(list(out.glob("part-*"))) < done and process.poll() is None:
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        json.loads((out / "_manifest.json").read_text())
        for part in out.glob("part-*"):
            parquet.read_table(part)
    assert kills
    assert in_pieces(store, data, out).wait(60) == 0
    assert contents(out) == contents(tmp_path / "calm")


def test_it_may_die_at_any_step(store: Path, data: Path, tmp_path: Path) -> None:
    outcome = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.server.tools.recommend_all_deaths",
            str(store),
            str(data),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout.splitlines()[-1]) > 30  # the manifest and two parts, each with its steps


def test_what_leniency_dropped_is_said_on_standard_error_and_in_the_summary(
    store: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, dropped = tmp_path / "data", "ratings.csv: 1 row dropped: a rating must be a finite number"
    shutil.copytree(data, folder)
    with (folder / "ratings.csv").open("a") as file:
        file.write("u1,unheard of,many,0\n")
    words = ["--store", str(store), "--data", str(folder), "--out", str(tmp_path / "out"), "--lenient"]
    assert main(["recommend-all", *words, "--json"]) == 0
    said = capsys.readouterr()
    assert dropped in said.err.splitlines()
    assert json.loads(said.out)["dropped"] == [dropped]
