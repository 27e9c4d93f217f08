"""Sends a live server bytes that nobody in their right mind would, as JSON.

    python -m tests.bench.fuzz --store STORE --inputs 1000000 [--seed 0] [--json PATH]

Inputs are good requests with bits flipped, bytes cut, put in, doubled and spliced, and
messages made up field by field from values that break things: NaN, infinity, the ends
of every integer, invalid UTF-8, long texts, deep nesting, many of everything, and filters put
together from what their language is made of. An answer may
be OK, INVALID_ARGUMENT or NOT_FOUND; whatever else comes, or takes `TIMEOUT_S`, is
a finding, of which the first of each kind is printed with its input. Ends with 1 if there
is one, if the server has died, or if its memory has grown by more than `GROWTH_MIB` after
the first tenth.
"""

import random
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from deepmoviematch.client import Client, pb
from deepmoviematch.server.host.pool import FEW_WAITING
from deepmoviematch.server.rpc.replies import varint
from deepmoviematch.server.rpc.service import NAME
from deepmoviematch.server.tools.traffic import Traffic
from tests.bench import machine
from tests.bench.servers import Running, serving

METHODS = ("Recommend", "BatchRecommend", "SimilarItems", "FindItems", "EmbedUser")
HARMLESS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
AT_ONCE = FEW_WAITING
"""Calls in flight: as many as the server never refuses, for a refusal reads no input."""

TIMEOUT_S = 20.0
GROWTH_MIB = 30.0
LARGEST = 200_000

_INTEGERS = (0, 1, 2, 10, 127, 128, 1000, 1001, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_FLOATS = (0.0, -0.0, 0.5, 5.0, -1.0, 1e-45, 3.4e38, float("nan"), float("inf"), float("-inf"))
_TEXTS = (
    b"",
    b"1",
    b"50",
    b"Comedy",
    b"comedy",
    b"\xff\xfe",
    b"\x00",
    b"\xf0\x9f\x8e\xac",
    b"\xed\xa0\x80",
    b"a" * 257,
)
_TOKENS = (
    *_TEXTS,
    *(b"genres", b"year", b"title", b"average_rating", b"1990", b"-2e3", b"and", b"M*A*S*H", b"\xc3\x9f"),
    *(b" ", b" AND ", b" OR ", b"NOT ", b"-", b"(", b")", b"f(", b",", b'"', b"'", b"\\", b"*"),
    *(b":", b"=", b"!=", b"<", b"<=", b">", b">=", b"!", b"\xe2\x80\xa8"),
    *(b"genres:Comedy ", b"year >= 1990 ", b"title:(a OR b) ", b'-title = "*a*b*" '),
)
"""What filters are made of, and what they are not."""


def main() -> None:
    """Fuzz, print, write."""
    parser = machine.parser(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="a store with a generation")
    parser.add_argument("--inputs", type=int, default=20_000, help="default: %(default)s")
    chosen = parser.parse_args()
    with serving(chosen.store, "--log-level", "error") as server:
        report = fuzz(server, chosen.inputs, random.Random(chosen.seed))
    machine.report({"seed": chosen.seed} | report, chosen.json, shown=True)
    grown = report["resident_mib"]["last"] - report["resident_mib"]["after_a_tenth"]
    sys.exit(bool(report["findings"]) or grown > GROWTH_MIB)


def fuzz(server: Running, inputs: int, chance: random.Random) -> dict[str, Any]:
    """Send so many inputs to `server`."""
    with Client(server.address, timeout_s=30) as client:
        traffic = Traffic(client, None, seed=0)
        good = [traffic.draw().request for _ in range(200)]
        paged = [each for each in good if "page_token" in each.DESCRIPTOR.fields_by_name]
        # So that flipped, cut and spliced tokens come too, and good ones of other requests.
        good += [_second(client, each) for each in paged[:50]]
    seeds = [each.SerializeToString() for each in good]
    tried = pb.RecommendRequest(experiment="none", user=pb.UserFeatures(user_id="somebody"))
    seeds.append(tried.SerializeToString())
    seeds += [
        pb.BatchRecommendRequest(
            requests=[each for each in good[n : n + 9] if isinstance(each, pb.RecommendRequest)]
        ).SerializeToString()
        for n in range(20)
    ]
    seeds += [
        pb.FindItemsRequest(title=title).SerializeToString() for title in ("the matrix", "heat (1995)", "é")
    ]
    seeds += [
        pb.EmbedUserRequest(user=each.user, intent=each.intent).SerializeToString()
        for each in good
        if isinstance(each, pb.RecommendRequest)
    ]
    codes: Counter[str] = Counter()
    findings: dict[str, str] = {}
    free, lock, slowest = threading.Semaphore(AT_ONCE), threading.Lock(), 0.0

    def take_down(call: Any, method: str, contents: bytes, sent: float) -> None:
        nonlocal slowest
        code = "OK" if call.exception() is None else call.code().name
        with lock:
            codes[code] += 1
            slowest = max(slowest, time.perf_counter() - sent)
            if code not in HARMLESS:
                findings.setdefault(f"{method}: {code}: {call.details()}", contents[:2000].hex())
        free.release()

    began, early = time.perf_counter(), 0.0
    with grpc.insecure_channel(server.address) as channel:
        calls: dict[str, Any] = {method: channel.unary_unary(f"/{NAME}/{method}") for method in METHODS}
        for number in range(inputs):
            if number == inputs // 10:
                early = server.resident_mib["rss"]
            method, contents = chance.choice(METHODS), _input(chance, seeds)
            free.acquire()
            call: Any = calls[method].future(contents, timeout=TIMEOUT_S)
            sent = time.perf_counter()
            call.add_done_callback(
                lambda call, method=method, contents=contents, sent=sent: take_down(
                    call, method, contents, sent
                )
            )
        for _ in range(AT_ONCE):
            free.acquire()
    with Client(server.address, timeout_s=30) as client:  # which raises if the server has died
        client.recommend(pb.RecommendRequest())
    return {
        "inputs": inputs,
        "per_s": round(inputs / (time.perf_counter() - began)),
        "codes": dict(codes),
        "slowest_s": round(slowest, 3),
        "resident_mib": {"after_a_tenth": early, "last": server.resident_mib["rss"]},
        "findings": findings,
    }


def _second(client: Client, request: Any) -> Any:
    """The request for the page that follows the first one."""
    first = next(client.pages(request))
    return type(request).FromString(
        request.SerializeToString() + type(request)(page_token=first.next_page_token).SerializeToString()
    )


def _input(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One input: made up, a seed with a filter, or one that was mutated one to eight times."""
    kind = chance.random()
    if kind < 0.3:
        return _message(chance, depth=0)
    if kind < 0.5:
        return chance.choice(seeds) + _filter(chance)
    contents = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        contents = chance.choice(_MUTATIONS)(chance, contents, seeds)[:LARGEST]
    return bytes(contents)


def _filter(chance: random.Random) -> bytes:
    """The field of a filter, of RecommendRequest and of SimilarItemsRequest: each skips the other's."""
    text = b"".join(chance.choices(_TOKENS, k=chance.choice((1, 2, 3, 5, 8, 12, 40, 400))))
    depth = chance.choice((0, 0, 0, 2, 40, 1000))
    text = chance.choice((b"(", b"-(", b"x:(", b"a (")) * depth + text + b")" * depth
    text = text.decode(errors="ignore").encode() if chance.random() < 0.9 else text
    return b"".join(varint(number << 3 | 2) + varint(len(text)) + text for number in (4, 6))


def _flip(chance: random.Random, contents: bytearray, _: list[bytes]) -> bytearray:
    if contents:
        contents[chance.randrange(len(contents))] ^= 1 << chance.randrange(8)
    return contents


def _cut(chance: random.Random, contents: bytearray, _: list[bytes]) -> bytearray:
    start = chance.randrange(len(contents) + 1)
    del contents[start : start + chance.choice((1, 2, 8, 1000))]
    return contents


def _put_in(chance: random.Random, contents: bytearray, _: list[bytes]) -> bytearray:
    place = chance.randrange(len(contents) + 1)
    contents[place:place] = chance.choice((chance.randbytes(chance.randrange(1, 9)), _field(chance, 0)))
    return contents


def _double(chance: random.Random, contents: bytearray, _: list[bytes]) -> bytearray:
    return contents * chance.choice((2, 2, 3, 20))


def _splice(chance: random.Random, contents: bytearray, seeds: list[bytes]) -> bytearray:
    other = chance.choice(seeds)
    return contents[: chance.randrange(len(contents) + 1)] + other[chance.randrange(len(other) + 1) :]


_MUTATIONS: tuple[Callable[[random.Random, bytearray, list[bytes]], bytearray], ...] = (
    _flip,
    _flip,
    _cut,
    _put_in,
    _double,
    _splice,
)


def _message(chance: random.Random, depth: int) -> bytes:
    count = chance.choice((0, 1, 1, 2, 3, 5, 300 if depth == 0 else 5))
    return b"".join(_field(chance, depth) for _ in range(count))


def _field(chance: random.Random, depth: int) -> bytes:
    """One field, its number mostly one that the contract has."""
    number = chance.choice((1, 1, 1, 2, 2, *range(3, 17), chance.randrange(1, 2**29)))
    kind = chance.choice((0, 2, 2, 2, 5, 1, chance.randrange(8)))
    tag = varint(number << 3 | kind)
    if kind == 0:
        return tag + varint(chance.choice(_INTEGERS))
    if kind == 5:
        return tag + struct.pack("<f", chance.choice(_FLOATS))
    if kind == 1:
        return tag + struct.pack("<d", chance.choice(_FLOATS))
    if kind == 2:
        nested = depth < 5 and chance.random() < 0.6
        contents = _message(chance, depth + 1) if nested else chance.choice(_TEXTS)
        return tag + varint(len(contents)) + contents
    return tag


if __name__ == "__main__":
    main()
