"""Page tokens can be read by whoever has the key, and made by nobody else."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from deepmoviematch.server.errors import ServeError, Violation
from deepmoviematch.server.rpc.tokens import MOST_CHARACTERS, Cursor, Tokens, read_key
from deepmoviematch.v1 import recommender_pb2 as pb

KEY = b"k" * 32
CURSOR = Cursor("g000012-5f3a9c1e", start=30, ahead=10)


def request(token: bytes | str = b"", **changes: Any) -> pb.RecommendRequest:
    user = pb.UserFeatures(
        history=[pb.Interaction(item_id="6", rating=3), pb.Interaction(item_id="7")],
        genre_preferences={"Comedy": 5, "Horror": 1},
    )
    text = token if isinstance(token, str) else token.decode()
    return pb.RecommendRequest(**{"user": user, "page_size": 7, **changes}, page_token=text)


def refused(opened: Cursor | Violation) -> str:
    assert isinstance(opened, Violation)
    assert opened.field == "page_token"
    return opened.rule


@given(
    cursor=st.builds(
        Cursor,
        st.sampled_from(["g000000-00000000", f"g{10**18 - 1}-5f3a9c1e"]),
        start=st.integers(0, 2**32 - 1),
        ahead=st.integers(0, 1000),
    )
)
def test_a_token_says_where_its_request_goes_on(cursor: Cursor) -> None:
    token = Tokens(KEY).seal(cursor, request())
    assert len(token) <= 128
    assert set(token.decode()) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=")
    assert Tokens(KEY).open(request(token, page_size=1000, validate_only=True, explain=True)) == cursor


def test_the_longest_token_is_within_the_contract() -> None:
    # 26 bytes of body, 28 of the longest id and 32 of seal are 86, four characters for every three begun.
    assert len(Tokens(KEY).seal(Cursor(f"g{10**18 - 1}-5f3a9c1e", 0, 0), request())) == 116 <= MOST_CHARACTERS
    assert MOST_CHARACTERS == 128


def test_the_seal_is_keyed_blake2() -> None:
    contents = base64.urlsafe_b64decode(Tokens(KEY).seal(CURSOR, request()))
    assert contents[-32:] == hashlib.blake2b(contents[:-32], key=KEY, digest_size=32).digest()


def test_the_order_in_which_a_map_travels_does_not_matter() -> None:
    token = Tokens(KEY).seal(CURSOR, request())
    turned = pb.UserFeatures(
        history=[pb.Interaction(item_id="6", rating=3), pb.Interaction(item_id="7")],
        genre_preferences={"Horror": 1, "Comedy": 5},
    )
    assert Tokens(KEY).open(request(token, user=turned)) == CURSOR


def test_what_this_server_does_not_know_does_not_matter() -> None:
    token = Tokens(KEY).seal(CURSOR, request())
    unknown = request(token).SerializeToString() + b"\xfa\x7f\x03new"
    assert Tokens(KEY).open(pb.RecommendRequest.FromString(unknown)) == CURSOR


@pytest.mark.parametrize(
    "changes",
    [
        {"include_history": True},
        {"exclude_item_ids": ["6"]},
        {"intent": pb.INTENT_NEXT},
        {"user": pb.UserFeatures()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_token_is_good_for_its_own_request_alone(changes: dict[str, Any]) -> None:
    token = Tokens(KEY).seal(CURSOR, request())
    assert "got that of another one" in refused(Tokens(KEY).open(request(token, **changes)))


def test_a_token_of_another_method_is_refused() -> None:
    token = Tokens(KEY).seal(CURSOR, pb.SimilarItemsRequest(item_id="6")).decode()
    assert refused(Tokens(KEY).open(pb.FindItemsRequest(title="6", page_token=token)))


@given(place=st.integers(0, 73), bit=st.integers(0, 7))
def test_no_bit_of_a_token_may_change(place: int, bit: int) -> None:
    contents = bytearray(base64.urlsafe_b64decode(Tokens(KEY).seal(CURSOR, request())))
    contents[place] ^= 1 << bit
    assert refused(Tokens(KEY).open(request(base64.urlsafe_b64encode(contents))))


@given(length=st.integers(1, 99))
def test_a_token_that_was_cut_is_refused(length: int) -> None:
    token = Tokens(KEY).seal(CURSOR, request())[:length]
    assert f"got {length} characters that are no whole token" in refused(Tokens(KEY).open(request(token)))


@given(text=st.text(min_size=1) | st.sampled_from(["A" * 100, "=" * 100, "A" * 100_000, "é", "AAAA\n"]))
def test_whatever_is_no_token_is_refused(text: str) -> None:
    assert "no whole token" in refused(Tokens(KEY).open(request(text)))


def test_a_token_has_one_spelling() -> None:
    token = Tokens(KEY).seal(CURSOR, request())
    assert token.endswith(b"=")
    twin = token[:-2] + bytes([token[-2] + 1]) + b"="
    assert base64.urlsafe_b64decode(twin) == base64.urlsafe_b64decode(token)
    assert "no whole token" in refused(Tokens(KEY).open(request(twin)))


def test_another_key_reads_nothing() -> None:
    token = Tokens().seal(CURSOR, request())
    assert "sealed with another key" in refused(Tokens().open(request(token)))


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"s" * 32)
    assert read_key(path) == read_key(path)
    assert len(read_key(path)) == 32
    path.write_bytes(b"t" * 100)
    assert len(read_key(path)) == 32
    assert read_key(None) != read_key(None)


def test_a_key_that_is_short_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"secret")
    with pytest.raises(
        ServeError, match=r"must have 32 random bytes or more, got 6 in .*; make one: head -c"
    ):
        read_key(tmp_path / "key")
    with pytest.raises(ServeError, match=r"must be readable, got .*No such file"):
        read_key(tmp_path / "none")
