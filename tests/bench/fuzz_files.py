"""Feeds whatever reads filters, page tokens, generations and data files hostile inputs, as JSON.

    .venv/bin/python -m pip install atheris
    python -m tests.bench.fuzz_files [--seconds 60] [--seed 0] [--targets filters ...] [--json PATH]

Each target has a process of its own, in which libFuzzer (by atheris) mutates good inputs and keeps
those that reach something new in our code. An input may be read or end in a `MovieMatchError`. Another
exception, `TIMEOUT_S` for one input, more than `MOST_MIB` of memory and the death of the process are
findings; of each target the first is reported, with its input in hex. What is read must also be of
use: a generation answers requests, and data are the same when they were written and read again.
Ends with 1 if there is a finding.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from tests.bench import machine

TIMEOUT_S = 10
MOST_MIB = 2048
LONGEST = 20_000
"""Bytes of an input."""

GOLDEN = Path(__file__).parents[1] / "indexer" / "golden" / "v1"
ITEMS = 30

Target: TypeAlias = Callable[[bytes], None]
Fuzzed: TypeAlias = tuple[Target, list[bytes]]
"""What reads an input, raising a `MovieMatchError` at most, and good inputs."""

WORDS = (
    *("genres", "year", "title", "item_id", "popularity", "Comedy", "1990", "-2e3", "AND", "OR", "NOT"),
    *('"', "'", "\\", "*", ":", "=", "!=", "<=", ">=", "(", ")", "-", ",", "NaN", "inf", "null", "1e999"),
    *("::", "|", "\t", "\r\n", "\0", "movieId", "userId", "rating", "timestamp", "\ufeff", "[]", "{}"),
)
"""What libFuzzer may put in, besides what it finds by itself."""


def main() -> None:
    """Fuzz every target, print, write; or be the process of one target."""
    parser = machine.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each target (default: %(default)s)")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="default: all")
    parser.add_argument("--folder", type=Path, help="in which this process fuzzes the one target")
    chosen = parser.parse_args()
    if find_spec("atheris") is None:
        sys.exit("atheris must be installed, got none; .venv/bin/python -m pip install atheris")
    if chosen.folder is not None:
        fuzz(chosen.targets[0], chosen.folder, ["fuzz", *_flags(chosen.folder, chosen.seconds, chosen.seed)])
        return
    reports = {name: run(name, chosen.seconds, chosen.seed) for name in chosen.targets}
    machine.report({"seed": chosen.seed, "seconds": chosen.seconds, **reports}, chosen.json, shown=True)
    sys.exit(any(report["finding"] for report in reports.values()))


def run(name: str, seconds: int, seed: int) -> dict[str, Any]:
    """Fuzz one target in a process of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:  # in memory
        folder = Path(path)
        words = ["--targets", name, "--seconds", str(seconds), "--seed", str(seed), "--folder", path]
        with (folder / "log").open("w") as log:
            ended = subprocess.run(
                [sys.executable, "-m", "tests.bench.fuzz_files", *words], stderr=log, stdout=log, check=False
            )
        said = (folder / "log").read_text(errors="replace")
        inputs = [found.read_bytes().hex() for found in (folder / "found").iterdir()]
    numbers = {each: int(value) for each, value in re.findall(r"stat::(\w+):\s+(\d+)", said)}
    covered = re.findall(r" cov: (\d+)", said) or ["0"]
    end = [line for line in said.splitlines() if not line.startswith(("#", "INFO", "WARNING"))][-30:]
    return {
        "inputs": numbers.get("number_of_executed_units"),
        "per_s": numbers.get("average_exec_per_sec"),
        "edges": {"seeds": int(covered[0]), "last": int(covered[-1])},
        "peak_mib": numbers.get("peak_rss_mb"),
        "finding": None
        if ended.returncode == 0
        else {"status": ended.returncode, "said": end, "inputs": inputs},
    }


def fuzz(name: str, folder: Path, words: list[str]) -> None:
    """Give this process over to libFuzzer, which ends it."""
    import atheris  # noqa: PLC0415 - not of the lock, and only of use here

    with atheris.instrument_imports(include=["deepmoviematch"]):
        from deepmoviematch.data.errors import MovieMatchError  # noqa: PLC0415

        target, seeds = TARGETS[name](folder)
    for place, seed in enumerate(seeds):
        (folder / "corpus" / str(place)).write_bytes(seed)

    def test_one_input(contents: bytes) -> None:
        with suppress(MovieMatchError):
            target(contents)

    atheris.Setup(words, test_one_input)
    atheris.Fuzz()


def _flags(folder: Path, seconds: int, seed: int) -> list[str]:
    for name in ("corpus", "found"):
        (folder / name).mkdir()
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in escaped))
    return [
        str(folder / "corpus"),
        *(f"-artifact_prefix={folder / 'found'}/", f"-dict={folder / 'words'}", "-print_final_stats=1"),
        *(f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-timeout={TIMEOUT_S}"),  # 0 is any seed
        *(f"-rss_limit_mb={MOST_MIB}", f"-max_len={LONGEST}"),
    ]


def filters(_: Path) -> Fuzzed:
    """Filters are read and evaluated."""
    from deepmoviematch.indexer.generation import load  # noqa: PLC0415
    from deepmoviematch.server.ranking.recommender import Recommender  # noqa: PLC0415

    known = Recommender(load(GOLDEN)).filters

    def target(contents: bytes) -> None:
        text = contents.decode(errors="ignore")
        if text.strip():
            known.allowed(text)

    return target, [
        b'genres:Comedy year >= 1990 AND NOT title:"part ii"',
        b"genres:(Comedy OR Sci-Fi) -year < 1995",
        b'title = "*fil*m*" OR item_id = m3',
        b"(a OR (b AND NOT c)) popularity > 0.25 year:*",
        b"title:'it\\'s \\* \\\\ \\\"' OR year != -3e2",
    ]


def tokens(_: Path) -> Fuzzed:
    """Of all page tokens only the one that was given out is any good."""
    from deepmoviematch.server.rpc.tokens import Cursor, Tokens  # noqa: PLC0415
    from deepmoviematch.v1 import recommender_pb2 as pb  # noqa: PLC0415

    known = Tokens(b"k" * 32)
    good = known.seal(Cursor("g000001-0123abcd", 10, 0), pb.RecommendRequest())

    def target(contents: bytes) -> None:
        token = contents.decode(errors="ignore")
        opened = known.open(pb.RecommendRequest(page_token=token))
        if isinstance(opened, Cursor) and token != good.decode():
            raise AssertionError(f"{token!r} was never given out")

    return target, [good, good[:-4], good + b"="]


def generations(folder: Path) -> Fuzzed:
    """One file of a generation is another; all hashes are made to fit, so that what it says is read."""
    from deepmoviematch.indexer import generation, manifest  # noqa: PLC0415
    from deepmoviematch.indexer.build import bundle  # noqa: PLC0415
    from tests.bench import synthetic  # noqa: PLC0415

    def described(values: dict[str, Any], files: Mapping[str, bytes], table: dict[str, Any]) -> bytes:
        """The manifest when `files` have come to those of `table`."""
        listed = values | {"files": table | manifest.file_table(files)}
        listed.pop("id", None)
        return manifest.to_json(listed | {"id": manifest.generation_id(1, listed)})

    flat = {path.relative_to(GOLDEN).as_posix(): path.read_bytes() for path in GOLDEN.rglob("*.*")}
    about = json.loads(flat.pop(manifest.MANIFEST))
    forms = {"flat": (flat, about)}
    for kind in ("hnsw", "ivf"):
        made, rest = bundle(synthetic.run(ITEMS, seed=0), index=kind)
        forms[kind] = dict(made), {"format": 1, "kind": "generation"} | rest
    tables = {form: manifest.file_table(files) for form, (files, _) in forms.items()}
    places = [("flat", manifest.MANIFEST), *(("flat", name) for name in sorted(flat))]
    places += [(kind, name) for kind in ("hnsw", "ivf") for name in ("index.faiss", "similar.faiss")]
    for form, (files, values) in forms.items():
        files[manifest.MANIFEST] = described(values, {}, tables[form])
        for name, contents in files.items():
            (folder / form / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / form / name).write_bytes(contents)
        generation.load(folder / form)

    def target(contents: bytes) -> None:
        form, name = places[contents[0] % len(places)] if contents else places[0]
        files, values = forms[form]
        written = {name: contents[1:]}
        if name == manifest.MANIFEST:
            with suppress(ValueError, RecursionError):
                edited = json.loads(contents[1:])
                if isinstance(edited, dict):
                    written = {name: described(edited, {}, tables[form])}
        else:
            written[manifest.MANIFEST] = described(values, written, tables[form])
        try:
            for path, what in written.items():
                (folder / form / path).write_bytes(what)
            _use(generation.load(folder / form))
        finally:
            for path in written:
                (folder / form / path).write_bytes(files[path])

    seeds = [
        bytes([place]) + (folder / form / name).read_bytes()[: LONGEST - 1]
        for place, (form, name) in enumerate(places)
    ]
    return target, seeds


def _use(loaded: Any) -> None:
    """Answer requests from a generation."""
    from deepmoviematch.server.generations.current import Current  # noqa: PLC0415
    from deepmoviematch.server.ranking.recommender import Recommender  # noqa: PLC0415
    from deepmoviematch.server.rpc.service import RecommenderService  # noqa: PLC0415
    from deepmoviematch.server.rpc.tokens import Tokens  # noqa: PLC0415
    from deepmoviematch.v1 import recommender_pb2 as pb  # noqa: PLC0415

    current = Current()
    current.set(Recommender(loaded))
    service = RecommenderService(current, Tokens())
    user = pb.UserFeatures(history=[pb.Interaction(item_id=loaded.catalogue.item_ids[0])])
    requests: list[tuple[str, Any]] = [
        ("Recommend", pb.RecommendRequest(user=user)),
        ("Recommend", pb.RecommendRequest(user=user, intent=pb.INTENT_NEXT, page_size=1000)),
        ("SimilarItems", pb.SimilarItemsRequest(item_id=loaded.catalogue.item_ids[-1])),
        ("FindItems", pb.FindItemsRequest(title="film")),
    ]
    for method, request in requests:
        service.ask(method, request.SerializeToString())


def _tables(good: Mapping[str, bytes]) -> Callable[[Path], Fuzzed]:
    """Data in the form of the files `good`, the first of which has the ratings."""

    def made(folder: Path) -> Fuzzed:
        from deepmoviematch.data import canonical, readers  # noqa: PLC0415

        names = list(good)
        given, again = folder / "given", folder / "again"
        given.mkdir()

        def target(contents: bytes) -> None:
            kind = contents[0] if contents else 0
            other = names[kind % len(names)]
            for name in names:
                (given / name).write_bytes(contents[1:] if name == other else good[name])
            first = readers.read(given, lenient=bool(kind & 64))
            shutil.rmtree(again, ignore_errors=True)
            canonical.write(first, again)
            second = readers.read(again)
            if second.catalogue.to_json() != first.catalogue.to_json():
                raise AssertionError(f"{second.catalogue} was {first.catalogue}")
            for field in ("user_ids", "users", "items", "ratings", "timestamps"):
                one, two = getattr(first.ratings, field), getattr(second.ratings, field)
                if str(one) != str(two):
                    raise AssertionError(f"{field}: {two} was {one}")

        seeds = [bytes([place | flag]) + good[name] for place, name in enumerate(names) for flag in (0, 64)]
        return target, seeds

    return made


def _parquet(folder: Path) -> Fuzzed:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    tables = {
        "ratings.parquet": {
            "userId": pa.array([1, 2, 2]),
            "movieId": pa.array(["a", "a", "b"]).dictionary_encode(),
            "rating": pa.array([4.0, 3.5, 1.0], pa.float32()),
            "timestamp": pa.array([1, 2, 3], pa.timestamp("ms")),
        },
        "movies.parquet": {
            "movieId": pa.array(["a", "b"]),
            "title": pa.array(["Alien (1979)", "Heat"]),
            "genres": pa.array(["Horror|Sci-Fi", None]),
            "tags": pa.array([["x", "y"], None]),
            "adult": pa.array([True, None]),
        },
    }
    good = {}
    for name, columns in tables.items():
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(columns), sink, compression="none")
        good[name] = sink.getvalue().to_pybytes()
    return _tables(good)(folder)


TARGETS: dict[str, Callable[[Path], Fuzzed]] = {
    "filters": filters,
    "tokens": tokens,
    "generations": generations,
    "csv": _tables(
        {
            "ratings.csv": b"userId,movieId,rating,timestamp\n1,a,4.0,1\n2,a,3.5,2\n2,b,1.0,3\n",
            "movies.csv": b'movieId,title,genres,runtime,tags\na,Alien (1979),Horror|Sci-Fi,117,"x|y|"\n'
            b'b,"Heat, The ""Film""",(no genres listed),,\n',
        }
    ),
    "parquet": _parquet,
    "dat": _tables(
        {
            "ratings.dat": b"1::1::4::978300760\n1::2::3::978302109\n",
            "movies.dat": b"1::Toy Story (1995)::Animation|Comedy\n2::Jum\xe9nji (1995)::Adventure\n",
        }
    ),
    "u.data": _tables(
        {
            "u.data": b"196\t1\t3\t881250949\n186\t2\t3\t891717742\n",
            "u.item": b"1|Toy Story (1995)|01-Jan-1995||http://x|0|0|1\n2|unknown||||1|0|0\n",
            "u.genre": b"unknown|0\nAction|1\nComedy|2\n",
        }
    ),
}
"""Name -> what makes the target, given a folder to write to."""


if __name__ == "__main__":
    main()
