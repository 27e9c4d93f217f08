"""The command line, on files as a user has them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.text import Text

from deepmoviematch.data.canonical import write
from deepmoviematch.data.dataset import Dataset
from deepmoviematch.data.readers import read
from deepmoviematch.trainer import fit as fitting
from deepmoviematch.trainer.__main__ import PROTOCOLS, main
from deepmoviematch.trainer.console import print_rows
from deepmoviematch.trainer.evaluation import protocols
from deepmoviematch.trainer.experiments import experiment, neighbourhood, neighbours
from deepmoviematch.trainer.models import loop
from deepmoviematch.trainer.recipe import RetrievalRecipe

SMALL = ["--set", "epochs=1", "--set", "hidden=[8]"]


@pytest.fixture(scope="module")
def data(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    catalogue, ratings = dataset.catalogue, dataset.ratings
    assert ratings.timestamps is not None
    movies = [
        f"{item_id},{catalogue.label(row)},{'|'.join(catalogue.genres_of(row))}"
        for row, item_id in enumerate(catalogue.item_ids)
    ]
    lines = [
        f"{ratings.user_ids[user]},{catalogue.item_ids[item]},{value},{time}"
        for user, item, value, time in zip(
            ratings.users, ratings.items, ratings.ratings, ratings.timestamps, strict=True
        )
    ]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies]) + "\n")
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines]) + "\n")
    return folder


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def test_where_hardly_anything_is_a_like_fit_card_and_evaluate_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = ["1000", *map(str, range(1, 60))]
    rows = [f"{user},{item},{counts[(7 * user + item) % 60]}" for user in range(12) for item in range(20)]
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    (data / "ratings.csv").write_text("\n".join(["userId,movieId,rating", *rows]) + "\n")
    (data / "movies.csv").write_text(
        "\n".join(["movieId,title,genres", *(f"{item},Film {item},Drama" for item in range(20))]) + "\n"
    )
    said = "should be likes, 800 or more, got"
    assert run("fit", "--data", data, "--out", out, *SMALL) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if said in line]
    assert warning.endswith("then all are likes")
    card = (out / "card.md").read_text()
    assert "A like is a rating of 800 or more." in card
    assert said in card
    assert run("evaluate", "--data", data, *SMALL) == 1
    printed = capsys.readouterr().err
    assert warning in printed.splitlines()
    assert "must be held out, got 0.1 of 0 users; that takes 6 users" in printed


def test_who_resumes_where_there_is_no_checkpoint_is_told_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", "--data", data, "--recipe", "seed", "--out", tmp_path, "--resume", *SMALL) == 0
    assert f"there is no checkpoint in {tmp_path} to go on from; beginning anew" in capsys.readouterr().err


@pytest.mark.parametrize("epoch", [0, 2])
def test_who_interrupts_a_fit_is_told_to_resume_it_where_an_epoch_is_whole(
    epoch: int,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit = ["fit", "--data", data, "--recipe", "seed", "--set", "epochs=3", "--out", tmp_path]
    with monkeypatch.context() as broken:
        broken.setattr(fitting, "train", _interrupted_in("fit", epoch=epoch))
        assert run(*fit) == 130
    whole = epoch > 0
    assert ("interrupted; fit --resume goes on from the last whole epoch" in capsys.readouterr().err) is whole
    assert run(*fit, "--resume") == 0
    assert ("no checkpoint" in capsys.readouterr().err) is not whole


def test_fit_leaves_a_run_and_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert run("fit", "--data", data, "--out", out, *SMALL) == 0
    printed = capsys.readouterr().out
    assert "popularity NDCG@100" in printed
    assert f"run written to {out}" in printed
    assert "for 1 epoch: these towers are published" in printed
    assert "- measure: 1 epoch, " in (out / "card.md").read_text()
    assert not (out / "checkpoint").exists()
    recipe = json.loads((out / "manifest.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["embedding_dim"], recipe["ease_penalty"]) == (1, 64, 200)


def test_another_process_fits_the_same_bits(data: Path, tmp_path: Path) -> None:
    arguments = ["fit", "--data", str(data), *SMALL, "--out"]
    assert run(*arguments, tmp_path / "here") == 0
    command = [sys.executable, "-m", "deepmoviematch.trainer", *arguments, str(tmp_path / "there")]
    subprocess.run(command, check=True, capture_output=True)
    for tower in ("user_tower", "item_tower"):
        files = sorted((tmp_path / "here" / tower).iterdir())
        assert files
        for file in files:
            assert (tmp_path / "there" / tower / file.name).read_bytes() == file.read_bytes()


def test_evaluate_prints_nothing_but_json_when_asked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("evaluate", "--data", data, "--recipe", "seed", "--protocol", "rating", "--json", *SMALL)
    assert run(*command) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["protocol"] == "rating"
    assert list(table["models"]) == [
        "global mean",
        "user mean",
        "movie mean",
        "user + movie bias",
        "user + movie bias + 16 factors",
        "the same, Bayesian",
        "seed",
    ]


def test_evaluate_says_what_each_feature_of_the_moment_adds(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings, data = dataset.ratings, tmp_path
    assert ratings.timestamps is not None
    write(replace(dataset, ratings=replace(ratings, timestamps=3600 * ratings.timestamps)), data)
    assert run("evaluate", "--data", data, "--protocol", "moments", "--json", *SMALL) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["protocol"] == "moments"
    assert table["models"]
    assert table["settled"][0]["embedding_dim"] == 64
    for name, figures in table["models"].items():
        assert name in {"hour", "weekday"}
        assert figures["users"] > 0
        assert figures["added"]["low"] <= figures["added"]["mean"] <= figures["added"]["high"]
    assert run("evaluate", "--data", data, "--protocol", "moments", *SMALL) == 0
    assert "asked for alone" in capsys.readouterr().out


def test_moments_that_are_all_alike_have_nothing_to_add(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "--data", data, "--protocol", "moments", *SMALL) == 1
    assert "needs ratings at different times or on different devices" in capsys.readouterr().err


def test_moments_that_differ_for_users_held_out_alone_teach_nothing(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = dataset.ratings
    held_out = protocols.new_users(dataset.catalogue, ratings, seed=1).user_ids
    here = np.isin(np.array(ratings.user_ids)[ratings.users], held_out)
    times = np.where(here, 3600 * np.arange(len(ratings)), 0)
    write(replace(dataset, ratings=replace(ratings, timestamps=times)), tmp_path)
    assert run("evaluate", "--data", tmp_path, "--protocol", "moments", *SMALL) == 1
    assert "needs ratings at different times or on different devices" in capsys.readouterr().err


def test_evaluate_prints_a_table_for_people(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--data", data, *SMALL) == 0
    printed = capsys.readouterr().out
    assert "masked: everything known of a user" in printed
    assert "popularity" in printed
    assert "fitted with embedding_dim 64, ease_penalty 200, epochs 1\n" in printed


def test_a_narrow_terminal_folds_no_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    print_rows(("model", "ndcg@100"), [("a model with a long name", "0.1234 [0.1000, 0.2000]")])
    assert (
        "a model with a long name  0.1234 [0.1000, 0.2000]" in Text.from_ansi(capsys.readouterr().out).plain
    )


def test_evaluate_says_what_the_data_chose_on_each_split(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def settled(recipe: RetrievalRecipe, *_: object) -> RetrievalRecipe:
        return replace(recipe, embedding_dim=4 * recipe.seed, ease_penalty=5.0)

    monkeypatch.setattr(fitting, "settled", settled)
    command = ("evaluate", "--data", data, "--protocol", "rating", "new-users", "--splits", 2, *SMALL)
    assert run(*command, "--json") == 0
    for table in json.loads(capsys.readouterr().out):
        assert table["recipe"]["embedding_dim"] == 0
        assert table["settled"] == [
            {"embedding_dim": width, "ease_penalty": 5, "epochs": 1} for width in (4, 8)
        ]
    assert run(*command) == 0
    printed = capsys.readouterr().out
    for width in (4, 8):
        said = f"fitted with embedding_dim {width}, ease_penalty 5, epochs 1"
        assert printed.count(said) == 2


def test_evaluate_gives_a_list_for_several_protocols_and_a_picture(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    command = ("evaluate", "--data", data, "--protocol", "new-users", "two-genres", "--plot", picture)
    assert run(*command, "--json", *SMALL) == 0
    captured = capsys.readouterr()
    tables = json.loads(captured.out)
    assert [table["protocol"] for table in tables] == ["new-users", "two-genres"]
    assert tables[0]["models"]["popularity"]["differences"]["ndcg@100"]["low"] is not None
    assert "new-users, two-genres  split 1/1: popularity, " in captured.err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_answers_all_rankings_and_the_ratings_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "possible", lambda *_: ("new-users", "three-likes"))
    command = ("evaluate", "--data", data, "--protocol", "all", "rating", "new-users", "--json")
    assert run(*command, *SMALL) == 0
    tables = json.loads(capsys.readouterr().out)
    assert [table["protocol"] for table in tables] == ["new-users", "three-likes", "rating"]


def test_a_picture_that_cannot_be_written_leaves_the_tables(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / (300 * "x" + ".png")  # longer than names of files may be
    assert run("evaluate", "--data", data, "--plot", name, "--json", *SMALL) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["protocol"] == "new-users"
    assert captured.err.splitlines()[-1].startswith("error: --plot must be writable")


def test_evaluate_prints_slices_when_asked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--data", data, "--slices", *SMALL) == 0
    printed = capsys.readouterr().out
    for kind in ("by length of the history", "by popularity of the target", "by genre of the target"):
        assert kind in printed


def test_a_collapsed_model_is_printed_and_fails(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "collapse", lambda *_: "the model has collapsed")
    assert run("evaluate", "--data", data, *SMALL) == 1
    captured = capsys.readouterr()
    assert "popularity" in captured.out
    assert captured.err.splitlines()[-1] == "error: new-users: the model has collapsed"


def test_every_protocol_is_explained() -> None:
    assert set(PROTOCOLS) == {*protocols.PROTOCOLS, "moments", "rating"}


def test_exercise_prints_six_tables(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("exercise", "--data", data, "--taste", "sad=5", *SMALL) == 0
    printed = capsys.readouterr().out
    for title in ("training rows", "sad=5", "beside actual", "nearest movie", "by number of", "by genre"):
        assert title in printed


def test_exercise_refuses_an_unknown_user_before_it_fits(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(fitting, "train")
    assert run("exercise", "--data", data, "--user", "nobody", *SMALL) == 1
    assert "one of the data's, such as u0, got nobody" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--out", "x", "--recipe", "sed"], "error: a recipe must be one of retrieval, seed"),
        (["fit", "--out", "x", "--set", "epoch=1"], "error: unknown setting(s) epoch"),
        (
            ["fit", "--out", "x", "--set", "epochs=2\nseed=3"],
            "error: --set must be one name=value, got 'epochs",
        ),
        (
            ["fit", "--out", "x", "--set", f"epochs={'9' * 5000}"],
            "error: epochs must be of type int, got '99",
        ),
        (
            ["evaluate", "--protocol", "rating", "--set", "rating_head=false"],
            "error: rating: this protocol needs a recipe that",
        ),
        (
            ["evaluate", "--protocol", "moments", "--recipe", "seed"],
            "error: moments: this protocol needs a recipe that ranks",
        ),
        (["evaluate", "--run", "x"], "error: --run names what a server's generation was built from"),
        (
            ["evaluate", "--at", "127.0.0.1:1", "--recipe", "seed", "--set", "epochs=2"],
            "error: with --at a server answers, as it was fitted, got --recipe seed, --set ['epochs=2']",
        ),
        (
            ["neighbours", "--run", "x", "--beside", "Heat", "--count", "4"],
            "error: without --item no neighbours are listed, got --beside ['Heat'], --count 4; leave it out",
        ),
        (
            ["neighbours", "--run", "x", "--item", "Heat", "--seed", "4"],
            "error: with --item nothing is drawn, got --seed 4; leave it out",
        ),
        (["evaluate", "--protocol", "rating", "--plot", "x.png"], "error: --plot draws rankings, got"),
        (["evaluate", "--plot", "x.jpg"], "error: --plot must be a file that ends in .png, got x.jpg"),
        (["evaluate", "--plot", "/nowhere/x.png"], "error: --plot must be a file in a folder that is there"),
        (["exercise", "--taste", "sad"], "error: a taste must be genre=stars with 0.5 to 5 stars"),
        (["exercise", "--taste", "sad=nan"], "error: a taste must be genre=stars with 0.5 to 5 stars"),
        (["exercise", "--taste", "sad=900"], "error: a taste must be genre=stars with 0.5 to 5 stars"),
        (["fit", "--out", "/dev/null/x"], "error: /dev/null/x: a run's folder must be writable"),
        (["exercise", "--recipe", "retrieval"], "error: the exercise's tables need a recipe of the seed"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(
    arguments: list[str],
    message: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, *rest = arguments
    assert run(command, "--data", data, *rest) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith(message)
    assert captured.out == ""


def test_data_that_breaks_a_rule_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A (1999),x\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,nan,0\n")
    assert run("fit", "--data", tmp_path, "--out", tmp_path / "run") == 1
    assert "ratings.csv:2" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "exercise", "neighbours"])
def test_every_command_says_what_leniency_dropped(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    with (tmp_path / "data" / "ratings.csv").open("a") as file:
        file.write("u1,i1,many,0\n")
    options = {"fit": ["--out", "/dev/null/x"], "exercise": ["--taste", "x=1"], "neighbours": ["--run", "/x"]}
    assert run(command, "--data", tmp_path / "data", "--lenient", *options[command]) == 1
    assert "ratings.csv: 1 row dropped: a rating must be a finite number" in capsys.readouterr().err


@pytest.mark.parametrize("lenient", [False, True])
def test_a_run_says_how_it_is_made_again(lenient: bool, data: Path, tmp_path: Path) -> None:
    if lenient:
        data = shutil.copytree(data, tmp_path / "data")
        with (data / "ratings.csv").open("a") as file:
            file.write("u1,i1,many,0\n")
    options = ["--lenient"] * lenient
    assert run("fit", "--data", data, "--out", tmp_path / "run", "--recipe", "seed", *SMALL, *options) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["lenient"] is lenient
    assert manifest["data_digest"] == read(data, lenient=lenient).digest
    (command,) = [
        line
        for line in (tmp_path / "run" / "card.md").read_text().splitlines()
        if line.startswith("    python")
    ]
    assert command.endswith(" --out RUN" + " --lenient" * lenient)


@pytest.mark.parametrize(
    ("recipe", "phase"),
    [("seed", "fit"), ("retrieval", "measure"), ("retrieval", "refit"), ("retrieval", "sequence")],
)
def test_a_fit_that_was_broken_off_is_resumed_to_the_same_bits(
    recipe: str, phase: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = ["fit", "--data", data, "--recipe", recipe, "--set", "epochs=3", "--set", "hidden=[8]"]
    if recipe == "retrieval":
        fit += ["--set", "sequence_epochs=3", "--set", "patience=0"]
    assert run(*fit, "--out", tmp_path / "whole") == 0
    with monkeypatch.context() as broken:
        broken.setattr(fitting, "train", _interrupted_in(phase))
        assert run(*fit, "--out", tmp_path / "resumed") == 130
    assert (tmp_path / "resumed" / "checkpoint" / f"{phase}.npz").exists()
    assert run(*fit, "--out", tmp_path / "resumed", "--resume") == 0
    for file in (*(tmp_path / "whole").glob("*_tower/*"), tmp_path / "whole" / "map.png"):
        again = tmp_path / "resumed" / file.relative_to(tmp_path / "whole")
        assert again.read_bytes() == file.read_bytes()


def _interrupted_in(last: str, *, epoch: int = 2) -> Callable[..., Any]:
    """The loop, broken off in an epoch of a phase, the third one if not told otherwise."""

    def train(task: Any, phase: str, **settings: Any) -> Any:
        def batches(begun: int) -> Any:
            if phase == last and begun == epoch:
                raise KeyboardInterrupt
            return of_task(begun)

        of_task, task.batches = task.batches, batches
        return loop.train(task, phase, **settings)

    return train


def test_a_folder_of_other_things_is_not_made_a_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "--data", data, "--out", data, *SMALL) == 1
    assert "--out must be empty or hold a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("manifest", "held"),
    [
        ('{"kind": "generation"}', "a generation"),
        ('{"name": "an app"}', "other files"),
        ("[]", "other files"),
    ],
)
def test_a_folder_with_the_manifest_of_something_else_is_left_as_it_is(
    manifest: str, held: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert run("fit", "--data", data, "--out", tmp_path, *SMALL) == 1
    assert f"--out must be empty or hold a run, got {tmp_path} with {held}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert (tmp_path / "manifest.json").read_text() == manifest


def test_a_checkpoint_of_something_else_does_not_make_a_folder_a_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "checkpoint" / "model.npz"
    state.parent.mkdir()
    state.write_text("mine")
    assert run("fit", "--data", data, "--out", tmp_path, *SMALL) == 1
    assert f"got {tmp_path} with other files; choose another" in capsys.readouterr().err
    assert state.read_text() == "mine"


def test_a_recipe_of_ones_own_does_not_make_a_folder_a_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "recipe.toml"
    mine.write_text('family = "seed"  # as I like it\n')
    assert run("fit", "--data", data, "--recipe", mine, "--out", tmp_path, *SMALL) == 1
    assert "--out must be empty or hold a run" in capsys.readouterr().err
    assert mine.read_text() == 'family = "seed"  # as I like it\n'


@pytest.mark.parametrize("left", ["manifest.json", "checkpoint/of-a-run"])
def test_what_is_left_of_a_run_may_be_written_over(left: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text('{"kind": "run"}')
    assert run("fit", "--data", data, "--recipe", "seed", "--out", tmp_path, *SMALL) == 0
    assert (tmp_path / "card.md").exists()


def test_neighbours_print_a_figure_that_does_not_exist_as_null(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(neighbourhood.Neighbourhood, "of", lambda *_: None)
    monkeypatch.setattr(neighbours, "measure", lambda *_, **__: {"ratio": {"mean": float("nan")}})
    assert run("neighbours", "--run", tmp_path, "--data", data, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"ratio": {"mean": None}}


def test_neighbours_are_measured_over_the_users_whom_the_run_held_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    held = ["--set", "validation_share=0.5", "--set", "refit=false"]
    assert run("fit", "--data", data, "--out", out, *SMALL, *held) == 0
    monkeypatch.setattr(neighbours, "LEAST_LIKES", 5)
    capsys.readouterr()
    assert run("neighbours", "--run", out, "--data", data, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["users"], found["unseen"]) == (30, True)
    assert run("neighbours", "--run", out, "--data", data) == 0
    assert "30 users, whom the vectors have learnt nothing from" in capsys.readouterr().out
    words = ["--item", "Item 3", "--beside", "Item 9 (1989)", "--count", "4"]
    assert run("neighbours", "--run", out, "--data", data, *words) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].split() == ["rank", "title", "year", "genres", "cosine", "likes", "both", "lift"]
    assert len(listed) in {7, 8}
    assert listed[-1].startswith("note: a lift is drawn towards 1")
    assert any("Item 9" in line for line in listed)
    assert run("neighbours", "--run", out, "--data", data, "--item", "Item") == 1
    assert "the title of 0; did you mean Item " in capsys.readouterr().err
