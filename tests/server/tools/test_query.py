"""The client for people, against a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmoviematch.server.__main__ import main
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.ranking.recommender import Recommender
from deepmoviematch.server.tools import tables
from deepmoviematch.v1 import recommender_pb2 as pb

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(running: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs `query` with words; returns exit status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["query", *words, "--address", running.address])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def found(ask: Ask, *words: str) -> dict[str, Any]:
    status, out, _ = ask(*words, "--json")
    assert status == 0
    response: dict[str, Any] = json.loads(out)
    return response


def ids(response: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in response["results"]]


def test_recommend_takes_titles_ids_ratings_and_genres(ask: Ask) -> None:
    words = ["--like", "Toy Story (1995)", "--like", "183", "--dislike", "the matrix", "--rate", "se7en=4.5"]
    words += ["--genre", "comedy=5", "--exclude", "schindlers list", "-n", "1000"]
    response = found(ask, "recommend", *words)
    assert len(ids(response)) == 20
    assert not {"1", "183", "2571", "47", "tt-12"} & set(ids(response))
    assert response["metadata"]["filtered_out"] == 5
    assert response["metadata"]["exhausted"] is True


def test_what_is_named_later_was_taken_later_however_it_is_told(running: SimpleNamespace, ask: Ask) -> None:
    told = {"--rate": "6=3", "--like": "1", "--dislike": "47"}
    ratings = {"--rate": 3.0, "--like": None, "--dislike": 0.5}
    answers = []
    for order in permutations(told):
        words = [word for option in order for word in (option, told[option])]
        history = [
            pb.Interaction(item_id=told[option].partition("=")[0], rating=ratings[option]) for option in order
        ]
        request = pb.EmbedUserRequest(user=pb.UserFeatures(history=history), intent=pb.INTENT_NEXT)
        expected = [*running.stub.EmbedUser(request).vector]
        assert found(ask, "taste", *words, "--next")["vector"] == pytest.approx(expected, abs=1e-6)
        answers.append(expected)
    assert len({tuple(each) for each in answers}) == len(answers)


def test_a_rating_changes_the_answer_and_include_history_returns_it(ask: Ask) -> None:
    loved, hated = (
        found(ask, "recommend", "--rate", f"amelie={rating}", "--include-history", "-n", "1000")
        for rating in (5, 0.5)
    )
    assert "4973" in ids(loved)
    assert ids(loved) != ids(hated)


def test_a_filter_and_a_choice_are_kept_to(ask: Ask) -> None:
    horror = found(ask, "recommend", "--like", "alien", "--filter", "genres:horror year < 1990", "-n", "1000")
    assert {item["year"] for item in horror["results"]} == {1980, 1982, 1984, 1986, 1988}
    words = ["--only", "seven", "--only", "[rec]", "--only", "6", "--filter", "genres:horror"]
    assert {*ids(found(ask, "similar", "alien", *words))} == {"47", "300"}


@pytest.mark.parametrize("words", [("recommend", "--like", "alien"), ("similar", "alien")])
def test_a_filter_that_leaves_nothing_says_what_no_item_has(words: tuple[str, ...], ask: Ask) -> None:
    status, output, errors = ask(*words, "--filter", "genres:horro", "--json")
    assert (status, json.loads(output)["results"]) == (0, [])
    assert 'note: no item has "horro" among its genres; did you mean "horror"?\n' in errors
    assert ask(*words, "--filter", "genres:horror")[2] == ""


def test_a_filter_at_fault_is_explained(ask: Ask) -> None:
    status, _, errors = ask("similar", "alien", "--filter", "genre:horror")
    assert status == 1
    assert 'filter must compare a field of the catalogue, got "genre" at character 1; did you mean' in errors


def test_json_spells_out_what_is_false_or_empty(ask: Ask) -> None:
    response = found(ask, "recommend", "--like", "6")
    assert response["missing_item_ids"] == []
    assert response["metadata"]["cold_start"] is False


def test_similar_takes_a_title(ask: Ask) -> None:
    assert ids(found(ask, "similar", "The Matrix (1999)")) == ids(found(ask, "similar", "2571"))


def test_similar_takes_several_titles_and_what_to_be_far_from(ask: Ask) -> None:
    near = ids(found(ask, "similar", "the matrix", "alien", "-n", "1000"))
    away = ids(found(ask, "similar", "2571", "183", "--unlike", "blade runner", "-n", "1000"))
    assert set(away) == set(near) - {"89"}
    assert away != [item for item in near if item != "89"]


def test_taste_shows_genres_with_bars_and_the_vector_to_programs(ask: Ask) -> None:
    place = found(ask, "taste", "--like", "alien", "--genre", "comedy=1", "--next")
    assert len(place["vector"]) == place["dimension"]
    nearest = place["nearest_genres"]
    status, out, _ = ask("taste", "--like", "alien", "--genre", "comedy=1", "-n", "2")
    assert status == 0
    rows = [line.split() for line in out.splitlines() if "│" in line]
    assert [row[:2] for row in rows] == [[each["genre"], f"{each['cosine']:+.3f}"] for each in nearest[:2]]


def test_explanations_are_drawn_as_bars(ask: Ask) -> None:
    words = [
        "recommend",
        "--like",
        "alien",
        "--rate",
        "matrix=2",
        "--genre",
        "comedy=1",
        "-n",
        "1",
        "--explain",
    ]
    [item] = found(ask, *words)["results"]
    why = item["explanation"]
    expected = {"what anyone gets": why["baseline_score"]}
    expected |= {part["title"]: part["contribution"] for part in why["history"]}
    expected |= {part["genre"]: part["contribution"] for part in why["genres"]}
    _, out, _ = ask(*words)
    drawn = [line.partition("│")[0].rstrip(" █").rpartition(" ") for line in out.splitlines() if "│" in line]
    assert {name.strip(): number for name, _, number in drawn} == {
        name: f"{part:+.3f}" for name, part in expected.items()
    }
    assert f"1. {item['title']} ({item['year']}): {why['sentence']}" in " ".join(out.split())
    assert max(len(line) for line in out.splitlines() if "│" in line) <= 80


def test_the_moment_is_sent_and_drawn_with_the_reasons(ask: Ask) -> None:
    words = ["recommend", "--like", "alien", "-n", "1"]
    moment = ["--hour", "21", "--weekday", "Saturday", "--device", "tv"]
    assert found(ask, *words)["results"] != found(ask, *words, *moment)["results"]
    [item] = found(ask, *words, *moment, "--explain")["results"]
    parts = {part["feature"]: part["contribution"] for part in item["explanation"]["context"]}
    assert parts.keys() == {"hour", "weekday", "device"}
    _, out, _ = ask(*words, *moment, "--explain")
    for feature, part in parts.items():
        assert f"the {feature} {part:+.3f}" in " ".join(out.split())
    vectors = [found(ask, "taste", "--like", "alien", *more)["vector"] for more in ([], moment)]
    assert vectors[0] != vectors[1]


def test_an_unexplained_answer_has_no_bars(ask: Ask) -> None:
    assert "│" not in ask("recommend", "--like", "alien")[1]


def test_bars_go_to_the_side_of_their_sign() -> None:
    assert [tables.bar(value, 2, width=8) for value in (2, 1, 0, -2, 9)] == [
        "    │████",
        "    │██",
        "    │",
        "████│",
        "    │████",
    ]


def test_an_id_is_taken_before_a_title(ask: Ask) -> None:
    assert "300" not in ids(found(ask, "similar", "300", "-n", "1000"))
    assert "301" not in ids(found(ask, "similar", "300 (2007)", "-n", "1000"))


def test_of_equal_titles_the_most_popular_is_taken_and_said(ask: Ask, recommender: Recommender) -> None:
    popularity = recommender.generation.popularity
    row_of = recommender.generation.catalogue.row_of
    item, year = max([("6", 1995), ("7", 1986)], key=lambda each: popularity[row_of[each[0]]])
    status, _, errors = ask("similar", "heat")
    assert status == 0
    expected = f"'heat' is the title of 1 other item too; took the most popular, Heat ({year}) [{item}]\n"
    assert errors == expected


def test_an_id_that_is_a_title_too_means_the_item_with_that_id(
    serve: Callable[..., Any],
    publish: Callable[..., Any],
    catalogues: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    books = catalogues.books()
    titles = ("978-0001", *books.titles[1:])
    current = Current()
    current.set(Recommender(publish(tmp_path, replace(books, titles=titles))))
    with serve(current) as running:
        assert main(["query", "similar", "978-0001", "--at", running.address]) == 0
    said = "'978-0001' is the title of 1 other item too; took the one with that id, Volume 1 [978-0001]\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["similar", "toy"],
            "an item must be named by its id or whole title, got 'toy'; did you mean Toy Story (1995) [1]?",
        ),
        (
            ["similar", "nonsense"],
            "an item must be named by its id or whole title, got 'nonsense'; "
            "look for words of it: query find",
        ),
        (
            ["recommend", "--genre", "noir=5", "--genre", "comedy=7"],
            'user.genre_preferences["comedy"] must be 0.5 to 5 stars, got 7; '
            'user.genre_preferences["noir"] must be a genre of the catalogue, got "noir"; '
            "the genres are Action, Animation, Comedy, Horror, Sci-Fi",
        ),
        (
            ["recommend", "--rate", "se7en=9"],
            "user.history[0].rating must be 0.5 to 5, the scale of the ratings, "
            "which begins at a tenth of its top unless the data go lower, got 9",
        ),
        (
            ["recommend", "--like", ""],
            "an item must be named by its id or whole title, got none; name one",
        ),
        (["find", ""], "title must be 1 to 1000 bytes, got none"),
        (
            ["recommend", "--genre", "comedy=5", "--genre", "comedy=1"],
            "--genre must name each genre once, got comedy, comedy",
        ),
        (
            ["recommend", "--rate", "  z=3"],
            "an item must be named by its id or whole title, got '  z'; look for words of it: query find",
        ),
    ],
)
def test_what_the_user_can_cure_is_one_line(ask: Ask, words: list[str], error: str) -> None:
    assert ask(*words) == (1, "", f"error: {error}\n")


@pytest.mark.parametrize("text", ["comedy", "comedy=", "=5", "comedy=many", "comedy=nan"])
def test_an_assignment_needs_a_name_and_a_number(capsys: pytest.CaptureFixture[str], text: str) -> None:
    for option, form in (("--genre", "GENRE=STARS such as"), ("--rate", "ITEM=RATING such as")):
        with pytest.raises(SystemExit) as caught:
            main(["query", "recommend", option, text])
        assert caught.value.code == 2
        assert f"argument {option}: must be {form}" in capsys.readouterr().err


def test_tables_show_titles_and_ids_as_they_are(ask: Ask) -> None:
    _, out, _ = ask("find", "[REC]")
    assert "[REC]" in out
    _, out, _ = ask("find", "long id")
    assert out.count("x") == 60  # over several lines, but whole
    assert max(map(len, out.splitlines())) <= 100


def test_the_headline_says_what_the_answer_is_from(ask: Ask, recommender: Recommender) -> None:
    _, out, _ = ask("recommend")
    assert out.startswith(f"generation {recommender.generation.id}; cold start: ")


def test_a_terminal_without_accents_gets_the_rest(running: SimpleNamespace) -> None:
    words = ["query", "find", "amelie", "--address", running.address]
    command = [sys.executable, "-m", "deepmoviematch.server", *words]
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Am?lie" in done.stdout


@pytest.mark.parametrize("contents", [b"", b"\xff\xfe", "schl\u00fcssel".encode(), b"two\nlines"])
def test_a_file_that_holds_no_key_is_one_line(ask: Ask, tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(contents)
    status, out, said = ask("find", "heat", "--api-key-file", str(file))
    assert (status, out) == (1, "")
    assert said.startswith(f"error: {file} must hold one API key of printable ASCII without blanks, got ")


def test_no_server_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "find", "heat", "--address", "127.0.0.1:1"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: a server must answer at 127.0.0.1:1, got none; ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("scale", [(2.0, 10.0), (-10.0, 10.0), (1.0, 1.0)])
def test_a_dislike_is_the_lowest_rating_of_the_data_set_whatever_its_scale(
    scale: tuple[float, float],
    *,
    serve: Callable[..., Any],
    publish: Callable[..., Any],
    catalogues: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    generation = publish(tmp_path, catalogues.books(), scale=scale)
    current = Current()
    current.set(Recommender(generation))
    with serve(current) as running:
        book = generation.catalogue.item_ids[0]
        assert main(["query", "recommend", "--dislike", book, "--address", running.address, "--json"]) == 0
    response = json.loads(capsys.readouterr().out)
    assert response["metadata"]["cold_start"] is False
    assert response["metadata"]["filtered_out"] == 1


def test_a_dislike_needs_ratings_to_choose_from(
    serve: Callable[..., Any],
    publish: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    current = Current()
    current.set(Recommender(publish(tmp_path, scale=(0.0, 0.0))))
    with serve(current) as running:
        assert main(["query", "recommend", "--dislike", "183", "--address", running.address]) == 1
    assert capsys.readouterr().err == (
        "error: a dislike needs ratings to choose from, got a data set in which all are 0; "
        "leave --dislike out\n"
    )


def test_no_generation_is_said(serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    with serve(Current()) as running:
        assert main(["query", "find", "heat", "--address", running.address]) == 1
    assert capsys.readouterr().err.startswith("error: no generation is loaded yet; ")


def test_the_program_runs_from_the_command_line(running: SimpleNamespace) -> None:
    words = ["query", "find", "matrix", "--address", running.address]
    command = [sys.executable, "-m", "deepmoviematch.server", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Matrix, The" in done.stdout
    assert "\x1b" not in done.stdout


def test_pages_are_joined_into_one_answer(ask: Ask) -> None:
    for words in (["recommend", "--like", "6"], ["similar", "6"], ["find", "film"]):
        whole, paged = found(ask, *words, "-n", "12"), found(ask, *words, "-n", "4", "--pages", "3")
        assert ids(paged) == ids(whole)
    everything = found(ask, "recommend", "--like", "6", "-n", "7", "--pages", "1000")
    assert len(ids(everything)) == 24
    assert everything["next_page_token"] == ""


def test_styles_are_asked_for_and_told(ask: Ask) -> None:
    words = ["recommend", "--like", "6", "--diversity", "0.5", "--novelty", "0.2", "--max-per-genre", "2"]
    status, out, _ = ask(*words, "--explore", "0.5", "--seed", "3")
    assert status == 0
    assert "intra-list diversity 0." in out
    assert "by chance" in out
    assert "* 0." in out
    response = found(ask, *words)
    assert response["metadata"]["relevance_paid"] > 0
    genres = [genre for item in response["results"] for genre in item["genres"]]
    assert all(genres.count(genre) <= 2 for genre in genres)
    assert found(ask, "similar", "6", "--diversity", "0.9")["metadata"]["intra_list_diversity"] > 0


def test_a_plan_is_printed_in_place_of_results(ask: Ask) -> None:
    status, out, _ = ask("similar", "6", "-n", "100", "--max-per-genre", "3", "--validate")
    assert status == 0
    assert "24 candidates; 24 of them to reorder\n- 24 results are left for a page of 100\n" in out
    assert found(ask, "recommend", "--like", "6", "--validate")["plan"]["candidates"] == 24


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--diversity", "1.1"], "must be 0 to 1, got '1.1'"),
        (["--novelty", "nan"], "must be 0 to 1, got 'nan'"),
        (["--explore", "x"], "must be 0 to 1, got 'x'"),
        (["--seed", "-1"], "must be 0 to 18446744073709551615, got '-1'"),
        (["--pages", "0"], "must be 1 to 1000, got '0'"),
        (["--hour", "24"], "must be 0 to 23, got '24'"),
        (["--weekday", "someday"], "invalid choice: 'someday'"),
    ],
)
def test_styles_beyond_their_bounds_are_refused_by_the_command_line(
    ask: Ask, capsys: pytest.CaptureFixture[str], words: list[str], rule: str
) -> None:
    with pytest.raises(SystemExit):
        ask("recommend", *words)
    assert rule in capsys.readouterr().err


def test_predicted_ratings_are_a_column_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    rated = pb.Recommendation(item_id="6", title="Heat", rank=1, predicted_rating=4.26)
    tables.print_results(tables.console(), [rated])
    heading, _, row, *_ = capsys.readouterr().out.strip().splitlines()
    assert heading.split()[-1] == "rating"
    assert row.split()[-1] == "4.3"


def test_a_predicted_rating_of_nothing_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_results(tables.console(), [pb.Recommendation(item_id="6", predicted_rating=-0.04)])
    assert capsys.readouterr().out.split()[-1] == "0.0"


def test_reasons_name_what_has_no_title_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    why = pb.Explanation(
        sentence="Raised.",
        history=[pb.HistoryContribution(item_id="sku 48", contribution=0.5)],
        nearest_like=pb.NearestLike(item_id="sku 48", cosine=0.25),
    )
    tables.print_explanations(tables.console(), [pb.Recommendation(item_id="sku 7", rank=1, explanation=why)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1. sku 7: Raised."
    assert any(line.strip().startswith("sku 48") for line in lines)
    assert "   most like sku 48 of what is liked (cosine 0.25)" in lines


@pytest.mark.parametrize("size", ["1", "1000"])
def test_of_a_reader_who_leaves_nothing_is_said(running: SimpleNamespace, size: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    asking = [sys.executable, "-m", "deepmoviematch.server", "query", "recommend", "-n", size, "--json"]
    ended = subprocess.run(
        [*asking, "--address", running.address], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_no_score_is_less_than_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    spread = pb.ResponseMetadata(intra_list_diversity=-1e-8, relevance_paid=-1e-8)
    tables.print_headline(tables.console(), spread, ())
    tables.print_results(tables.console(), [pb.Recommendation(item_id="6", score=-1e-8)])
    out = capsys.readouterr().out
    assert out.count("0.000") == 4
    assert "-0.000" not in out


@pytest.mark.parametrize("gap", [0.004, 0.02])
def test_what_an_explanation_misses_is_told_where_it_shows(
    gap: float, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [pb.GenreContribution(genre="Comedy", contribution=0.25)]
    why = pb.Explanation(baseline_score=0.5, genres=parts, gap=gap, score=0.75 + gap)
    tables.print_explanations(tables.console(), [pb.Recommendation(item_id="6", explanation=why)])
    assert ("not told apart +0.020" in " ".join(capsys.readouterr().out.split())) == (gap > 0.005)


def test_no_title_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    why = pb.Explanation(sentence="close to \x1b[31mRed", genres=[pb.GenreContribution(genre="a\tb")])
    item = pb.Recommendation(item_id="6", title="\x1b[31mRed\nand \u202eblue", explanation=why)
    tables.print_results(tables.console(), [item])
    tables.print_explanations(tables.console(), [item])
    out = capsys.readouterr().out
    assert "\ufffd[31mRed and \ufffdblue" in out
    assert not {"\x1b", "\u202e", "\t"} & set(out)
