"""The load test, and the answers that it must not let pass."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepmoviematch.client import Client, pb
from deepmoviematch.indexer.store import Store
from deepmoviematch.server.__main__ import main
from deepmoviematch.server.errors import LoadTestError, OverloadedError
from deepmoviematch.server.generations.serving import Serving
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.tools import latency, loadtest, tables, traffic as traffic_module
from deepmoviematch.server.tools.questions import Batch, Embedding, Learnt, ListCall, number_of
from deepmoviematch.server.tools.traffic import Histories, Traffic, read_histories

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
BRIEF = ["--rate", "200", "--seconds", "0.5", "--json"]


def answer(*ids: str, **metadata: Any) -> pb.RecommendResponse:
    """A good answer of these items, best first."""
    return pb.RecommendResponse(
        next_page_token="" if metadata.get("exhausted") else "more",
        results=[
            pb.Recommendation(item_id=item, rank=rank, score=1 / rank)
            for rank, item in enumerate(ids, start=1)
        ],
        metadata=pb.ResponseMetadata(generation_id="g000005-00000000", **metadata),
    )


def question(**changes: Any) -> ListCall:
    usual = {"request": pb.RecommendRequest(), "size": 2, "absent": frozenset("h")}
    return ListCall("Recommend", **{**usual, **changes})


def test_a_good_answer_has_no_fault() -> None:
    assert question().fault(answer("a", "b"), oldest=5) is None
    assert question().fault(answer("a", exhausted=True), oldest=-1) is None
    full = answer("a", "b")
    full.missing_item_ids.extend("uvw")
    full.results[0].score = 1.000001  # what is left of a product of unit vectors in float32
    full.results[0].predicted_rating, full.results[1].predicted_rating = 5.0, 0.5
    user = pb.UserFeatures(history=[pb.Interaction(item_id="u")])
    request = pb.RecommendRequest(user=user, exclude_item_ids=["v"], candidate_item_ids=["w"])
    assert question(request=request, learnt=Learnt(0.5, 5.0)).fault(full, oldest=5) is None
    later = Learnt(generation="g000004-00000000", ids=frozenset("z"))
    assert question(learnt=later).fault(answer("a", "b"), oldest=5) is None  # may have other items


def test_every_kind_of_wrong_answer_is_found() -> None:
    endless = answer("a", "b")
    endless.results[0].score = float("nan")
    swapped = answer("a", "b")
    swapped.results[0].rank, swapped.results[1].rank = 2, 1
    rising = answer("a", "b")
    rising.results[1].score = 2.0
    nowhere, far, low, high = (answer("a", "b") for _ in range(4))
    nowhere.missing_item_ids.append("z")
    far.results[0].score = 1.01
    low.results[1].predicted_rating, high.results[1].predicted_rating = 0.4, 99.0
    wrong = {
        "1 results for 2": answer("a"),
        "3 results for 2": answer("a", "b", "c"),
        "an item twice": answer("a", "a"),
        "an item that was to be left out": answer("a", "h"),
        "an item that was not asked for": answer("a", "x"),
        "ranks out of order": swapped,
        "a score that is no number": endless,
        "scores out of order": rising,
        "an item that does not exist": answer("a", "y"),
        "an unknown item that was not sent": nowhere,
        "a score outside of -1 to 1": far,
    }
    learnt = Learnt(0.5, 5.0, "g000005-00000000", frozenset("abchx"))
    asked = question(fits=lambda item: item.item_id != "x", learnt=learnt)
    assert [asked.fault(each, oldest=5) for each in wrong.values()] == list(wrong)
    for each in (low, high):
        assert asked.fault(each, oldest=5) == "a rating outside of the scale"
    assert question().fault(answer("a", "b"), oldest=6) == "generation g000005-00000000 after number 6"
    nameless = answer("a", "b")
    nameless.metadata.generation_id = ""
    assert question().fault(nameless, oldest=-1) == "an answer that names no generation"


def test_an_end_before_everything_was_shown_is_found() -> None:
    early = question(size=3, available=2, seen=("z",))
    assert early.fault(answer(exhausted=True), oldest=5) == "0 results where 1 are left"


def place(**changes: Any) -> pb.EmbedUserResponse:
    """A good answer to where a user is."""
    good = pb.EmbedUserResponse(
        vector=[0.6, 0.8],
        dimension=2,
        nearest_genres=[pb.GenreAffinity(cosine=cosine) for cosine in (0.5, -0.5)],
        metadata=pb.ResponseMetadata(generation_id="g000005-00000000"),
    )
    for name, value in changes.items():
        good.ClearField(name)  # type: ignore[arg-type]
        good.MergeFrom(pb.EmbedUserResponse(**{name: value}))
    return good


def test_every_kind_of_wrong_place_is_found() -> None:
    user = pb.UserFeatures(history=[pb.Interaction(item_id="a")])
    asked = Embedding(pb.EmbedUserRequest(user=user))
    assert asked.fault(place(missing_item_ids=["a"]), oldest=5) is None
    wrong = {
        "1 numbers for 2": place(vector=[1.0]),
        "a vector of another length than 1": place(vector=[0.6, 0.9]),
        "genres out of order": place(nearest_genres=[pb.GenreAffinity(cosine=c) for c in (-0.5, 0.5)]),
        "an unknown item that was not sent": place(missing_item_ids=["b"]),
        "an answer that names no generation": place(metadata=pb.ResponseMetadata()),
    }
    assert [asked.fault(each, oldest=5) for each in wrong.values()] == list(wrong)
    assert asked.fault(place(vector=[float("nan")] * 2), oldest=5) == "a vector of another length than 1"


def test_pages_must_go_on_where_the_one_before_ended() -> None:
    first = question(pages=3)
    second = first.following(answer("a", "b"))
    assert second is not None
    assert second.request == pb.RecommendRequest(page_token="more")  # noqa: S106
    good, repeated, other = answer("c", "d"), answer("c", "b"), answer("c", "d")
    for each in (good, repeated, other):
        each.results[0].rank, each.results[1].rank = 3, 4
    other.metadata.generation_id = "g000006-00000000"
    assert second.fault(good, oldest=7) is None  # an older generation is what was asked for
    assert second.fault(repeated, oldest=5) == "an item twice"
    assert second.fault(answer("c", "d"), oldest=5) == "ranks out of order"
    assert second.fault(other, oldest=5) == "another generation on another page"
    assert second.following(answer("c", exhausted=True)) is None
    third = second.following(good)
    assert third is not None
    assert third.following(good) is None
    lost = answer("a", "b")
    lost.next_page_token = ""
    assert first.fault(lost, oldest=5) == "no token for what is left"


def test_the_number_of_a_generation_is_read_from_its_id() -> None:
    assert [number_of(name) for name in ("g000012-0a1b2c3d", "g1000000-00000000", "", "other")] == [
        12,
        1_000_000,
        -1,
        -1,
    ]


def test_arrivals_are_a_poisson_process() -> None:
    gaps = np.diff(list(loadtest.arrivals(1000.0, 20.0, seed=1)))
    assert gaps.mean() == pytest.approx(1 / 1000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of an exponential distribution


def test_histories_are_those_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,6,4.0,1\n2,7,3.5,1\n1,7,1.0,2\n"
    )
    assert read_histories(tmp_path) == [[("6", 4.0), ("7", 1.0)], [("7", 3.5)]]


@pytest.mark.parametrize(
    "contents",
    [
        "userId,rating\n1,2\n",
        "userId,movieId,rating\n1,2,x\n",
        "userId,movieId,rating\n1,60\n",
        "userId,rating,movieId\n1,4.0\n",
        f"userId,movieId,rating\n1,{'6' * 131_073},4.0\n",
    ],
)
def test_data_that_cannot_be_read_are_a_clear_error(tmp_path: Path, contents: str) -> None:
    (tmp_path / "ratings.csv").write_text(contents)
    with pytest.raises(LoadTestError, match="must have the columns userId, movieId and rating"):
        read_histories(tmp_path)


def test_data_in_another_file_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ratings.parquet").touch()
    with pytest.raises(LoadTestError, match=r"--data must be a folder with a ratings\.csv, .*; leave --data"):
        read_histories(tmp_path)


def test_an_explanation_that_does_not_add_up_is_a_fault(running: SimpleNamespace) -> None:
    with Client(running.address) as client:
        traffic = Traffic(client, None, seed=0)
        asked = traffic._explained(3)
        good = client.recommend(asked.request)
    assert asked.fault(good, oldest=0) is None
    for spoil in ("explanation", "score"):
        bad = pb.RecommendResponse.FromString(good.SerializeToString())
        bad.results[1].ClearField(spoil)
        assert asked.fault(bad, oldest=0) is not None


def test_a_batch_is_at_fault_if_any_of_its_answers_is() -> None:
    batch = Batch((question(), question(absent=frozenset("x"))))

    def together(*answers: pb.RecommendResponse) -> pb.BatchRecommendResponse:
        return pb.BatchRecommendResponse(responses=answers)

    good, other, refused = answer("a", "b"), answer("a", "b"), answer("a", "b")
    other.metadata.generation_id = "g000006-00000000"
    refused.status.code = 3
    assert batch.fault(together(good, good), oldest=5) is None
    assert batch.generation(together(good, good)) == "g000005-00000000"
    assert batch.fault(together(good), oldest=5) == "1 answers to a batch of 2"
    assert batch.fault(together(good, refused), oldest=5) == "a request refused in a batch"
    assert batch.fault(together(good, other), oldest=5) == "two generations in a batch"
    assert batch.fault(together(good, answer("a", "x")), oldest=5) == "an item that was to be left out"


def test_questions_leave_out_what_the_server_does_not_know(running: SimpleNamespace) -> None:
    histories: Histories = [[("6", 4.0), ("no such item", 1.0)], [("none of these", 2.0)]]
    with Client(running.address) as client:
        traffic = Traffic(client, histories, seed=1)
        drawn = [traffic.draw() for _ in range(400)]
        with pytest.raises(LoadTestError, match="must know items of the data set, got none"):
            Traffic(client, histories[1:], seed=1)
    batched = [one for each in drawn if isinstance(each, Batch) for one in each.questions]
    alone = [each for each in drawn if isinstance(each, ListCall)]
    assert {item for each in alone + batched for item in each.absent} == {"6"}
    assert {each.call for each in drawn} == set(loadtest._RESPONSES)
    assert set(loadtest._RESPONSES) == {method.name for method in SERVICE.methods}


@pytest.mark.parametrize(("pages", "known"), [(3, 25), (2, 0)])
def test_questions_know_all_items_of_a_small_catalogue(
    running: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, pages: int, known: int
) -> None:
    monkeypatch.setattr(traffic_module, "_PAGE", 10)
    monkeypatch.setattr(traffic_module, "CATALOGUE_PAGES", pages)
    with Client(running.address) as client:
        learnt = Traffic(client, None, seed=0)._learnt
    assert len(learnt.ids) == known
    assert (learnt.low, learnt.top) == (0.5, 5.0)
    assert learnt.generation


def test_questions_check_their_filters_and_choices(running: SimpleNamespace) -> None:
    with Client(running.address) as client:
        traffic = Traffic(client, None, seed=1)
        drawn = [traffic.draw() for _ in range(600)]
        limited = [
            each
            for each in drawn
            if isinstance(each, ListCall)
            and each.call != "FindItems"
            and (each.request.filter or each.request.candidate_item_ids)
        ]
        everything = client.recommend(pb.RecommendRequest(page_size=1000)).results
        for each in limited:
            ask = client.recommend if each.call == "Recommend" else client.similar_items
            assert each.fault(ask(each.request), oldest=-1) is None
    assert len({(each.call, each.request.filter.partition(" ")[0]) for each in limited}) > 4
    assert all(not all(map(each.fits, everything)) for each in limited)


def test_a_good_server_passes(
    running: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "latency.png"
    words = ["loadtest", "--at", running.address, *BRIEF, "--png", str(picture)]
    assert main(words) == 0
    summary = json.loads(capsys.readouterr().out)
    asked = summary["calls"]["all"]["asked"]
    assert asked > len(list(loadtest.arrivals(200.0, 0.5, seed=0)))  # further pages come on top
    assert summary["calls"]["all"]["outcomes"] == {"OK": asked}
    latency = list(summary["calls"]["all"]["latency_ms"].values())
    assert latency == sorted(latency)
    assert sum(summary["generations"].values()) == asked
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_table_names_every_call(running: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loadtest", "--at", running.address, *BRIEF[:-1]]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("Recommend", "SimilarItems", "all", "p99.9"))


@pytest.mark.parametrize("width", [40, 80])
def test_the_table_names_calls_whatever_the_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PLAIN_WIDTH", width)
    measured = latency.Measurements()
    for _ in range(1000):
        measured.add("BatchRecommend", 0.0, "OK", 0.0123, 0.0)
    latency.print_summary(measured.summary(1.0))
    out = capsys.readouterr().out
    assert "BatchRecommend" in out
    assert ("\u2026" in out) == (width < 80)


def test_refusals_fail_the_test_unless_they_are_allowed(
    serve: Callable[..., Any], recommender: Recommender, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refusing:
        asked = 0

        @property
        def serving(self) -> Serving:
            self.asked += 1
            if self.asked % 5 == 0:  # not while the questions are drawn
                raise OverloadedError
            return Serving(recommender)

    refusing = Refusing()
    with serve(refusing) as running:
        running.wiring.health.serve()
        words = ["loadtest", "--at", running.address, *BRIEF]
        assert main(words) == 1
        assert "at most 0.000% of the calls may be refused, got " in capsys.readouterr().err
        refusing.asked = 0
        assert main([*words, "--allow-refused", "0.3"]) == 0


def test_a_generation_that_comes_back_is_a_wrong_answer(
    serve: Callable[..., Any],
    tmp_path: Path,
    publish: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loadtest, "AGREE_S", 0.0)
    old, new = (publish(tmp_path, seed=seed).id for seed in (1, 2))
    both = [Recommender(Store(tmp_path).load(name)) for name in (old, new)]

    class Undecided:
        asked = 0

        @property
        def serving(self) -> Serving:
            self.asked += 1
            return Serving(both[self.asked % 2])

        def get(self, generation_id: str) -> Recommender:
            return both[bool(generation_id == new)]

    with serve(Undecided()) as running:
        running.wiring.health.serve()
        assert main(["loadtest", "--at", running.address, *BRIEF]) == 1
    ended = capsys.readouterr()
    assert "of the calls may be wrong" in ended.err
    assert list(json.loads(ended.out)["faults"]) == [f"generation {old} after number 2"]


def test_a_check_that_cannot_be_made_ends_the_test_and_says_so(
    running: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any) -> None:
        raise KeyError("what was to be compared")

    monkeypatch.setattr(ListCall, "fault", failing)
    assert main(["loadtest", "--at", running.address, "--rate", "20", "--seconds", "60", "--json"]) == 1
    assert "every answer must be checked, got KeyError('what was to be compared')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "0.1", "--seconds", "1"], "must ask something, got no call in 1 s at 0.1 calls/s; raise"),
        (
            ["--png", "nowhere/x.png"],
            "--png must name a .png file in a folder that is there, got nowhere/x.png",
        ),
        (["--png", "x.xyz"], "--png must name a .png file in a folder that is there, got x.xyz"),
    ],
)
def test_what_could_show_nothing_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["loadtest", "--at", "127.0.0.1:1", *BRIEF, *words]) == 1
    assert message in capsys.readouterr().err


def test_a_seed_below_zero_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["loadtest", "--at", "127.0.0.1:1", *BRIEF, "--seed", "-1"])
    assert "must be 0 to 18446744073709551615, got '-1'" in capsys.readouterr().err


def test_without_a_server_there_is_a_clear_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(loadtest, "START_S", 0.1)
    assert main(["loadtest", "--at", "127.0.0.1:1", *BRIEF]) == 1
    said = "a healthy server must answer at 127.0.0.1:1, got none within 0.1 s; start one (make serve) or"
    assert said in capsys.readouterr().err
