import json
from pathlib import Path
from typing import Any

import pytest

from deepmoviematch.indexer import __main__, build
from deepmoviematch.indexer.__main__ import main
from deepmoviematch.indexer.console import print_difference
from deepmoviematch.indexer.store import Store
from tests.indexer.conftest import Command


def restate(run: Path, **facts: object) -> None:
    """Have the run's manifest say something else."""
    path = run / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_build_says_what_it_published(command: Command, store: Store, run: Path) -> None:
    status, output, _ = command("build", "--run", run)
    assert status == 0
    assert str(store.current()) in output
    for fact in ("14", "flat index", "recall_at_10", "new-users.ndcg", "0.25 [0.125, 0.5]", " s"):
        assert fact in output


def test_build_says_when_the_store_changes_to_another_data_set(
    command: Command, store: Store, run: Path
) -> None:
    assert command("build", "--run", run)[2] == ""
    assert command("build", "--run", run)[2] == ""
    restate(run, dataset="books")
    assert "served tiny until now and serves books from now on" in command("build", "--run", run)[2]


def measured(run: Path, low: float) -> None:
    """Have the run's manifest say how well it ranks."""
    figure = {"mean": low + 0.05, "low": low, "high": low + 0.1}
    restate(run, metrics={"rankings": {"towers": {"ndcg@100": figure}}})


def test_build_refuses_what_is_clearly_worse_unless_it_is_forced(
    command: Command, store: Store, run: Path
) -> None:
    measured(run, 0.5)
    assert command("build", "--run", run)[0] == 0
    serving = store.current()
    measured(run, 0.3)
    status, _, errors = command("build", "--run", run)
    assert (status, store.current(), len(store.list())) == (1, serving, 1)
    assert f"ndcg@100 of {serving} is 0.55 [0.5, 0.6], got 0.35 [0.3, 0.4]; publish it all" in errors
    assert command("build", "--run", run, "--force")[0] == 0
    assert store.current() != serving


def test_build_is_compared_with_a_current_one_that_is_damaged_too(
    command: Command, store: Store, run: Path
) -> None:
    measured(run, 0.5)
    command("build", "--run", run)
    serving = store.current()
    (store.folder / "generations" / str(serving) / "popularity.npy").unlink()
    measured(run, 0.3)
    status, _, errors = command("build", "--run", run)
    assert (status, store.current()) == (1, serving)
    assert f"ndcg@100 of {serving} is 0.55 [0.5, 0.6], got 0.35" in errors
    measured(run, 0.5)
    assert command("build", "--run", run)[0] == 0
    assert store.load().id == store.current() != serving


@pytest.mark.parametrize(
    ("path", "rule"),
    [("CURRENT", "CURRENT must hold the id"), ("generations/{}/manifest.json", "must be readable JSON")],
)
def test_build_replaces_what_cannot_say_how_good_it_is_only_if_it_is_forced(
    command: Command, store: Store, run: Path, path: str, rule: str
) -> None:
    command("build", "--run", run)
    damaged = store.folder / path.format(store.current())
    damaged.write_text("damaged")
    status, _, errors = command("build", "--run", run)
    assert (status, len(store.list()), damaged.read_text()) == (1, 1, "damaged")
    assert errors.startswith("error: the generation to be replaced must say how good it is, got this: ")
    assert rule in errors
    assert errors.endswith("with rollback ID, or publish all the same with --force\n")
    assert command("build", "--run", run, "--force")[0] == 0
    assert store.load().id == store.list()[1]


def test_of_two_builds_at_once_the_later_is_compared_with_what_it_replaces(
    command: Command, store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(run, 0.5)
    command("build", "--run", run)
    bundle = build.bundle

    def overtaken(*asked: Any, **options: Any) -> Any:
        monkeypatch.setattr(build, "bundle", bundle)
        bundled = bundle(*asked, **options)
        measured(run, 0.9)
        assert command("build", "--run", run)[0] == 0
        return bundled

    monkeypatch.setattr(build, "bundle", overtaken)
    status, _, errors = command("build", "--run", run)
    assert (status, len(store.list())) == (1, 2)
    assert f"ndcg@100 of {store.current()} is 0.95" in errors


def test_diff_shows_two_generations_side_by_side(command: Command, two: tuple[str, str]) -> None:
    first, second = two
    status, output, _ = command("diff", first, "--json")
    assert status == 0
    found = json.loads(output)
    assert (found["first"], found["second"]) == two
    assert found["answers"] == {"of the first's 10": [1.0, 1.0]}
    status, output, _ = command("diff", second, first)
    assert status == 0
    for fact in (first, second, "Items", "in all", "14", "of the first's 10"):
        assert fact in output
    assert command("diff", "g000009-00000000")[0] == 1


def test_names_of_figures_are_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows: dict[str, list[Any]] = {
        "rankings.towers.ndcg@100": [0.5, 0.6],
        "protocol": ["new-users " * 6, "three-likes " * 6],
    }
    print_difference({"metrics": rows}, ("g000001-0123abcd", "g000002-4567cdef"))
    output = capsys.readouterr().out
    assert "rankings.towers.ndcg@100 " in output
    assert max(map(len, output.splitlines())) <= 80


def test_build_says_it_in_json_too(command: Command, store: Store, run: Path) -> None:
    _, output, _ = command("build", "--run", run, "--json")
    published = json.loads(output)
    assert published["id"] == store.current()
    assert (published["items"], published["dataset"]) == (14, "tiny")


def test_ctrl_c_ends_it_without_a_traceback(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "build", interrupted)
    assert command("build", "--run", run) == (130, "", "")


def test_a_run_that_is_not_there_is_an_error(command: Command, tmp_path: Path) -> None:
    status, output, errors = command("build", "--run", tmp_path / "none")
    assert (status, output) == (1, "")
    assert errors.startswith(f"error: {tmp_path / 'none'}: a run must have a manifest.json")


def test_list_marks_the_current_and_the_damaged(command: Command, store: Store, two: tuple[str, str]) -> None:
    (store.folder / "generations" / two[0] / "vectors.npy").unlink()
    status, output, _ = command("list")
    damaged, current = output.splitlines()[3:5]
    assert status == 0
    assert "damaged" in damaged
    assert "*" not in damaged
    assert "* " in current
    assert "retrieval" in current
    assert f"{two[0]} is damaged: " in output
    assert "vectors.npy is missing" in output.replace("\n", "")


def test_list_in_json_has_a_row_per_generation(command: Command, store: Store, two: tuple[str, str]) -> None:
    (store.folder / "generations" / two[0] / "vectors.npy").unlink()
    damaged, current = json.loads(command("list", "--json")[1])
    assert (damaged["id"], damaged["current"]) == (two[0], False)
    assert damaged["damage"].endswith("vectors.npy is missing")
    assert (current["id"], current["current"], current["damage"]) == (two[1], True, None)


@pytest.mark.parametrize("pointer", [b"", b"latest\n", b"\xff"])
def test_a_broken_pointer_does_not_hide_the_generations_that_one_may_name(
    command: Command, store: Store, two: tuple[str, str], pointer: bytes
) -> None:
    (store.folder / "CURRENT").write_bytes(pointer)
    status, output, errors = command("list")
    assert status == 0
    assert [name in output for name in two] == [True, True]
    assert "* " not in output
    assert errors.startswith(f"note: {store.folder / 'CURRENT'} must ")
    assert errors.count("\n") == 1
    status, output, again = command("list", "--json")
    assert (status, again) == (0, errors)
    assert [(row["id"], row["current"]) for row in json.loads(output)] == [(two[0], False), (two[1], False)]
    status, output, again = command("show", two[0])
    assert (status, again) == (0, errors)
    assert two[0] in output
    assert "(current)" not in output
    assert json.loads(command("show", two[0], "--json")[1])["id"] == two[0]
    assert command("verify", two[0])[0] == 0
    for name in ("show", "verify"):
        assert command(name) == (1, "", errors.replace("note: ", "error: "))
    assert command("rollback", two[0])[0] == 0
    assert f"{two[0]} (current)" in command("show")[1]


def test_list_of_an_empty_store_is_empty(command: Command) -> None:
    assert command("list", "--json")[:2] == (0, "[]\n")


@pytest.mark.parametrize(
    ("words", "rule"), [(["list"], "must be readable"), (["experiment"], "must be a store, got none; build")]
)
def test_a_file_in_place_of_a_store_is_an_error(
    command: Command, store: Store, words: list[str], rule: str
) -> None:
    store.folder.write_text("no store")
    status, output, errors = command(*words)
    assert (status, output) == (1, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert rule in errors


def test_show_tells_where_a_generation_comes_from(command: Command, two: tuple[str, str]) -> None:
    _, output, _ = command("show")
    assert f"{two[1]} (current)" in output
    for fact in ("run.dataset", "tiny", "run.recipe.name", "retrieval", "user_tower/likes.npy"):
        assert fact in output
    assert json.loads(command("show", two[0], "--json")[1])["id"] == two[0]


def test_verify_answers_by_its_status(command: Command, store: Store, two: tuple[str, str]) -> None:
    assert command("verify")[:2] == (0, f"{two[1]} is whole and answers its golden queries\n")
    assert json.loads(command("verify", two[0], "--json")[1]) == {"id": two[0], "whole": True}
    (store.folder / "generations" / two[0] / "vectors.npy").unlink()
    status, output, errors = command("verify", two[0])
    assert (status, output) == (1, "")
    assert errors.endswith("vectors.npy is missing\n")


def test_without_a_pointer_the_cure_is_named_and_cures(
    command: Command, store: Store, two: tuple[str, str]
) -> None:
    (store.folder / "CURRENT").unlink()
    for words in (["show"], ["verify"], ["rollback"]):
        assert command(*words)[2].endswith("a current generation, got none; name one: rollback ID\n")
    assert command("rollback", two[0])[0] == command("verify")[0] == 0


def test_rollback_and_gc_change_the_store(command: Command, store: Store, two: tuple[str, str]) -> None:
    assert command("rollback")[1] == f"{two[0]} is current\n"
    assert json.loads(command("rollback", two[1], "--json")[1]) == {"current": two[1]}
    assert json.loads(command("gc", "--keep", 1, "--json")[1]) == {"removed": [two[0]]}
    assert command("gc", "--keep", 1)[1] == "removed nothing\n"
    assert store.list() == (two[1],)


@pytest.mark.parametrize(
    "words", [["show"], ["verify", "x"], ["rollback"], ["gc", "--keep", "0"], ["experiment"]]
)
def test_what_cannot_be_done_is_one_line_on_stderr(command: Command, words: list[str]) -> None:
    status, output, errors = command(*words)
    assert (status, output) == (1, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("build", "list", "show", "verify", "rollback", "gc"):
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        output = capsys.readouterr().out
        assert "--store" in output
        assert "--json" in output


def test_a_store_that_cannot_be_read_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--store", "x" * 300]) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert "must be readable" in last
