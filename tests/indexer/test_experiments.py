import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from deepmoviematch.indexer import experiments
from deepmoviematch.indexer.errors import GenerationError, StoreError
from deepmoviematch.indexer.experiments import CURRENT, Experiment, Variant
from deepmoviematch.indexer.store import Store
from tests.indexer.conftest import Command

GENERATION = "g000001-0123abcd"
USERS = [f"user {number}" for number in range(10_000)]

shares = st.floats(0.001, 1000)


def split(variants: dict[str, float], name: str = "wider") -> Experiment:
    return Experiment(name, tuple(Variant(each, CURRENT, share) for each, share in variants.items())).check()


def counts(experiment: Experiment) -> dict[str, int]:
    got = [experiment.variant_of(user).name for user in USERS]
    return {variant.name: got.count(variant.name) for variant in experiment.variants}


def test_users_keep_their_variants_from_one_version_to_the_next() -> None:
    halves = split({"control": 1, "treatment": 1})
    got = [halves.variant_of(user).name[0] for user in USERS[:20]]
    # BLAKE2b of "wider\0user 0" begins with 0x39, of "wider\0user 2" with 0xae: below and above a half.
    assert "".join(got) == "cctctcttttccttctcttt"


def test_each_variant_gets_its_share_of_the_users() -> None:
    for name, count in counts(split({"a": 1, "b": 2, "c": 7})).items():
        share = {"a": 0.1, "b": 0.2, "c": 0.7}[name]
        assert abs(count - share * len(USERS)) < 4 * math.sqrt(share * (1 - share) * len(USERS))


def test_experiments_split_the_users_independently_of_each_other() -> None:
    first, second = split({"a": 1, "b": 1}, "one"), split({"a": 1, "b": 1}, "two")
    both = sum(first.variant_of(user).name == second.variant_of(user).name == "a" for user in USERS)
    assert abs(both - len(USERS) / 4) < 4 * math.sqrt(3 / 16 * len(USERS))


@given(shares, shares, st.floats(1, 10), st.text(max_size=10))
def test_one_that_grows_of_two_gives_no_user_away(a: float, b: float, more: float, user: str) -> None:
    for grown, before, after in (
        ("a", split({"a": a, "b": b}), split({"a": a * more, "b": b})),
        ("b", split({"a": a, "b": b}), split({"a": a, "b": b * more})),
    ):
        if before.variant_of(user).name == grown:
            assert after.variant_of(user).name == grown


@given(st.text(max_size=10), st.lists(shares, min_size=1, max_size=5))
def test_twice_the_share_for_all_changes_nothing(user: str, each: list[float]) -> None:
    names = [f"v{place}" for place in range(len(each))]
    once = split(dict(zip(names, each, strict=True)))
    doubled = split(dict(zip(names, (2 * share for share in each), strict=True)))
    assert once.variant_of(user).name == doubled.variant_of(user).name


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (Experiment("", (Variant("a", CURRENT),)), "must be 1 to 64 letters"),
        (Experiment('a"b', (Variant("a", CURRENT),)), "must be 1 to 64 letters"),
        (Experiment("e", (Variant("a b", CURRENT),)), "must be 1 to 64 letters"),
        (Experiment("e" * 65, (Variant("a", CURRENT),)), "must be 1 to 64 letters"),
        (Experiment("e", ()), "must have 1 to 20 variants"),
        (Experiment("e", (Variant("a", CURRENT), Variant("a", CURRENT))), "of different names, got a, a"),
        (Experiment("e", (Variant("a", "../outside"),)), "must name the id of a generation"),
        (Experiment("e", (Variant("a", CURRENT, 0.0),)), "must be 0.000001 to 1,000,000, got 0.0"),
        (Experiment("e", (Variant("a", CURRENT, math.nan),)), "to 1,000,000, got nan"),
        (Experiment("e", (Variant("a", CURRENT, math.inf),)), "to 1,000,000, got inf"),
    ],
)
def test_what_breaks_a_rule_is_refused(store: Store, two: Any, experiment: Experiment, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.begin_experiment(experiment)
    assert store.experiments() == {}


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"experiments": []}',
        b'{"experiments": {"e": 1}}',
        b'{"experiments": {"e": []}}',
        b'{"experiments": {"e": [{"name": "a", "share": 1}]}}',
        b'{"experiments": {"e": [{"name": null, "generation": "current", "share": 1}]}}',
        b'{"experiments": {"e": [{"name": "a", "generation": "current", "share": 1, "more": 1}]}}',
        b'{"experiments": {"e": [{"name": "a", "generation": "current", "share": 1' + b"0" * 400 + b"}]}}",
        b'{"experiments": {"e": [{"name": "a", "generation": "current", "share": "much"}]}}',
        b'{"experiments": {"e": [{"name": "a", "generation": "/etc", "share": 1}]}}',
        b" " * (experiments.MOST_BYTES + 1),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / experiments.FILE
    path.write_bytes(contents)
    with pytest.raises(StoreError, match=f"{experiments.FILE} must hold .* remove it to end them all"):
        experiments.read(path)


def test_no_more_experiments_run_than_may(store: Store, two: tuple[str, str]) -> None:
    most = experiments.MOST_EXPERIMENTS
    running = {name: Experiment(name, (Variant("a", CURRENT),)) for name in map(str, range(most))}
    path = store.folder / experiments.FILE
    path.write_bytes(experiments.to_bytes(running))
    assert store.experiments() == running
    message = f"at most {most} experiments may run at once, got {most + 1}"
    with pytest.raises(StoreError, match=f"^{message}; end one"):
        store.begin_experiment(Experiment("more", (Variant("a", CURRENT),)))
    assert store.experiments() == running
    path.write_bytes(experiments.to_bytes({**running, "more": running["0"]._replace(name="more")}))
    with pytest.raises(StoreError, match=f"got {message}; .* remove it to end them all"):
        store.experiments()


def test_a_store_remembers_its_experiments(store: Store, two: tuple[str, str]) -> None:
    assert store.experiments() == {}
    wider = Experiment("wider", (Variant("control", CURRENT, 0.9), Variant("wide", two[0], 0.1)))
    other = Experiment("other", (Variant("all", CURRENT),))
    store.begin_experiment(wider)
    store.begin_experiment(other)
    assert store.experiments() == {"wider": wider, "other": other}
    changed = Experiment("wider", (Variant("control", two[1]), Variant("wide", two[0])))
    store.begin_experiment(changed)
    store.end_experiment("other")
    assert Store(store.folder).experiments() == {"wider": changed}


def test_an_experiment_needs_whole_generations(store: Store, two: tuple[str, str]) -> None:
    with pytest.raises(StoreError, match=f"must hold the generation, got '{GENERATION}'"):
        store.begin_experiment(Experiment("e", (Variant("a", GENERATION),)))
    (store.folder / "generations" / two[0] / "popularity.npy").write_bytes(b"cut short")
    with pytest.raises(GenerationError, match="popularity"):
        store.begin_experiment(Experiment("e", (Variant("a", two[0]),)))
    assert store.experiments() == {}


def test_only_what_runs_can_be_ended(store: Store, two: tuple[str, str]) -> None:
    store.begin_experiment(Experiment("e", (Variant("a", two[0]),)))
    with pytest.raises(StoreError, match="must run, got 'f'; running: e"):
        store.end_experiment("f")


def test_gc_keeps_the_generations_of_experiments(store: Store, parts: Any, two: tuple[str, str]) -> None:
    store.publish(*parts)
    store.begin_experiment(Experiment("e", (Variant("a", two[0]), Variant("b", CURRENT))))
    assert store.gc(keep=1) == (two[1],)
    store.end_experiment("e")
    assert store.gc(keep=1) == (two[0],)


def test_gc_removes_nothing_while_the_experiments_cannot_be_read(store: Store, two: tuple[str, str]) -> None:
    (store.folder / experiments.FILE).write_text("damaged")
    with pytest.raises(StoreError, match=experiments.FILE):
        store.gc(keep=1)
    assert store.list() == two


def test_a_full_disk_leaves_the_experiments_as_they_were(
    store: Store, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store.begin_experiment(Experiment("e", (Variant("a", two[0]),)))
    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(StoreError, match="have room"):
            store.end_experiment("e")
    assert [*store.experiments()] == ["e"]


def test_the_command_begins_shows_and_ends_an_experiment(command: Command, two: tuple[str, str]) -> None:
    assert command("experiment") == (0, "no experiment runs\n", "")
    status, output, _ = command(
        "experiment", "wider", "--variant", "control=current:3", "--variant", f"wide={two[0]}"
    )
    assert status == 0
    assert "75.0%" in output
    assert two[0] in output
    assert "25.0%" in command("experiment")[1]
    assert command("experiment", "wider", "--end") == (0, "no experiment wider runs\n", "")


def test_the_command_says_it_in_json_too(command: Command, two: tuple[str, str]) -> None:
    words = ["--variant", "control=current:9", "--variant", f"wide={two[0]}", "--json"]
    assert json.loads(command("experiment", "wider", *words)[1]) == {
        "wider": [
            {"name": "control", "generation": "current", "weight": 9.0, "share": 0.9},
            {"name": "wide", "generation": two[0], "weight": 1.0, "share": 0.1},
        ]
    }
    assert command("experiment", "other", "--json")[1] == "{}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--end"], "--end takes the name of an experiment and nothing else"),
        (["e", "--variant", "a=current", "--end"], "--end takes the name of an experiment and nothing else"),
        (["--variant", "a=current"], "needs a name"),
        (["e", "--variant", "a"], "must name the id of a generation, or 'current', got ''"),
        (["e", "--end"], "must run, got 'e'"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    command: Command, two: tuple[str, str], words: list[str], message: str
) -> None:
    status, output, errors = command("experiment", *words)
    assert (status, output) == (1, "")
    assert message in errors
