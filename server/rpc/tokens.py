"""Page tokens: where a walk through a ranking goes on, sealed by whoever gave them out.

A token is URL-safe base64 of a body and its seal, keyed BLAKE2 (RFC 7693). The body names the
generation, the place in its ranking, and a digest of the request's other arguments, so that a token
goes on with nothing but what it came from. It is no secret, and says nothing of the user. Whoever has the key
can check it, so the workers of a server share one, and so may several machines.
"""

import base64
import hashlib
import secrets
from functools import cache, partial
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

from deepmoviematch.server.errors import ServeError, Violation

KEY_BYTES = 32
MOST_CHARACTERS = 128
"""No token is longer, as the contract has it: that of a generation with the longest of ids has 116."""

_BODY = Struct(">BIIB16s")
"""Form, start, ahead, bytes of the generation's id, digest; the id follows."""

_FORM = 2
_SEAL_BYTES = 32
_DIGEST_BYTES = 16
_PAGING = ("page_size", "page_token", "validate_only", "explain")
"""Fields that may change from page to page."""


class Cursor(NamedTuple):
    """Where a walk goes on."""

    generation_id: str

    start: int
    """How many results came before."""

    ahead: int
    """How many of them, at the beginning, an approximate search found; see `relevance.page_of`."""


class Tokens:
    """Gives out page tokens and reads them again."""

    def __init__(self, key: bytes | None = None) -> None:
        """Seal with `key`, which others may have too; None makes one that nobody has."""
        key = key or secrets.token_bytes(KEY_BYTES)
        self._seal = partial(hashlib.blake2b, key=key, digest_size=_SEAL_BYTES)

    def seal(self, cursor: Cursor, request: Any) -> bytes:
        """The token with which `request` goes on at `cursor`."""
        name = cursor.generation_id.encode()
        body = _BODY.pack(_FORM, cursor.start, cursor.ahead, len(name), digest_of(request)) + name
        return base64.urlsafe_b64encode(body + self._seal(body).digest())

    def open(self, request: Any) -> Cursor | Violation:
        """Where the token of `request` says that it goes on, or why it is not one for it."""
        token: str = request.page_token
        try:
            contents = base64.b64decode(token[:MOST_CHARACTERS], altchars=b"-_", validate=True)
        except ValueError:
            contents = b""
        body, seal = contents[:-_SEAL_BYTES], contents[-_SEAL_BYTES:]
        if not (_is_whole(body) and base64.urlsafe_b64encode(contents).decode() == token):
            return _refusal(f"got {len(token)} characters that are no whole token; begin without one")
        if not secrets.compare_digest(seal, self._seal(body).digest()):
            return _refusal("got one that was changed, or sealed with another key; begin without one")
        _, start, ahead, _, digest = _BODY.unpack_from(body)
        if digest != digest_of(request):
            return _refusal(
                "got that of another one; repeat all arguments but page_size, validate_only and explain, "
                "or begin without one"
            )
        return Cursor(body[_BODY.size :].decode(), start, ahead)


def digest_of(request: Any) -> bytes:
    """Of the kind of request and the arguments that a walk must not change."""
    kind, names = _kind(request.DESCRIPTOR)
    others = [(name, value) for name in names if (value := getattr(request, name))]
    for name, _ in others:  # for a moment, which is sooner than to copy the request
        request.ClearField(name)
    request.DiscardUnknownFields()  # which nothing here heeds
    contents = kind + request.SerializeToString(deterministic=True)
    for name, value in others:
        setattr(request, name, value)
    return hashlib.blake2b(contents, digest_size=_DIGEST_BYTES).digest()


@cache
def _kind(descriptor: Any) -> tuple[bytes, list[str]]:
    """What tells a kind of request from others, and those of its fields that may change."""
    names = [name for name in _PAGING if name in descriptor.fields_by_name]
    return f"{descriptor.name} ".encode(), names


def read_key(path: Path | None) -> bytes:
    """The key that a file holds; a new one if there is no file.

    Raises:
        ServeError: If the file cannot be read or is too short to be a secret.
    """
    if path is None:
        return secrets.token_bytes(KEY_BYTES)
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise ServeError(f"the key for page tokens must be readable, got {error}") from error
    if len(contents) < KEY_BYTES:
        raise ServeError(
            f"the key for page tokens must have {KEY_BYTES} random bytes or more, got {len(contents)} in "
            f"{path}; make one: head -c 32 /dev/urandom > {path}"
        )
    return hashlib.sha256(contents).digest()


def _is_whole(body: bytes) -> bool:
    """Whether `body` has the form and the length that it says."""
    if len(body) < _BODY.size:
        return False
    form, _, _, name_bytes, _ = _BODY.unpack_from(body)
    return bool(form == _FORM and len(body) == _BODY.size + name_bytes)


def _refusal(received: str) -> Violation:
    return Violation("page_token", f"must be one that this very request was answered with, {received}")
