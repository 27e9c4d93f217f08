"""What filters mean, in plain Python, and filters to hold to it."""

import re
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

from deepmoviematch.indexer.generation import Generation

Item: TypeAlias = dict[str, Any]
Tree: TypeAlias = Any
"""("and" | "or" | "not", trees) or (field, operator, value) or a word."""

NUMBERS = ("year", "popularity", "average_rating", "rating_count", "runtime")
TEXTS = ("title", "Studio")
LISTS = ("genres", "tags")


def known_of(generation: Generation) -> list[Item]:
    """Every item as a dictionary in which the unknown is missing."""
    catalogue = generation.catalogue
    items = []
    for row, item_id in enumerate(catalogue.item_ids):
        item: Item = {
            "item_id": item_id,
            "title": catalogue.titles[row],
            "year": int(catalogue.years[row]) or None,
            "genres": catalogue.genres_of(row),
            "popularity": float(generation.popularity[row]),
            **{column.name: column.values[row] for column in catalogue.columns},
        }
        items.append({name: value for name, value in item.items() if value not in (None, ())})
    return items


def satisfies(item: Item, tree: Tree) -> bool:
    """The oracle: what a filter means, as plainly as can be said."""
    match tree:
        case ("and", parts):
            return all(satisfies(item, part) for part in parts)
        case ("or", parts):
            return any(satisfies(item, part) for part in parts)
        case ("not", part):
            return not satisfies(item, part)
        case str():
            return like(item["title"], f"*{tree}*")
    field, operator, value = tree
    return field in item and ((operator, value) == (":", "*") or compares(item[field], *tree))


def compares(found: Any, field: str, operator: str, value: Any) -> bool:
    if field in LISTS:
        return any(like(each, value) for each in found)
    if field in NUMBERS:
        found, value = np.float32(found), np.float32(value)  # no threshold is nearer to a value than that
    elif field != "adult":
        if operator in {"=", "!=", ":"}:
            pattern = f"*{value}*" if operator == ":" else value
            return like(found, pattern, exact=field == "item_id") != (operator == "!=")
        found, value = found.casefold(), value.casefold()
    answers: dict[str, bool] = {
        "=": found == value,
        ":": found == value,
        "!=": found != value,
        "<": found < value,
        "<=": found <= value,
        ">": found > value,
        ">=": found >= value,
    }
    return answers[operator]


def like(text: str, pattern: str, *, exact: bool = False) -> bool:
    if not exact:
        text, pattern = text.casefold(), pattern.casefold()
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


words = st.sampled_from(
    ["film", "Number", "the", "star*", "*1", "300", "h*t", "'s", "é", "(", "or", "x y", "[REC]"]
)
parts_of_text = words | st.sampled_from(
    ["Heat", "Pixar", "a24", "warner*", "*bros.", "m*", "Toy Story", "", "*"]
)
comparisons = (
    st.tuples(
        st.sampled_from(NUMBERS),
        st.sampled_from([":", "=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from([-1.0, 0, 0.2, 0.52, 3, 16, 49, 80.5, 101.5, 1982, 1995, 1e9]),
    )
    | st.tuples(
        st.sampled_from(TEXTS), st.sampled_from([":", "=", "!=", "<", "<=", ">", ">="]), parts_of_text
    )
    | st.tuples(
        st.sampled_from(LISTS),
        st.just(":"),
        st.sampled_from(["Comedy", "horror", "SCI-FI", "old", "space", "*o*", "Western", "*"]),
    )
    | st.tuples(st.just("adult"), st.sampled_from([":", "=", "!="]), st.booleans())
    | st.tuples(
        st.just("item_id"),
        st.sampled_from([":", "=", "!="]),
        st.sampled_from(["6", "m1", "M1", "tt-12", "m*"]),
    )
    | st.tuples(st.sampled_from([*NUMBERS, *TEXTS, *LISTS, "adult"]), st.just(":"), st.just("*"))
)
trees = st.recursive(
    words | comparisons,
    lambda trees: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(trees, min_size=2, max_size=3))
        | st.tuples(st.just("not"), trees)
    ),
    max_leaves=6,
)


class Writer:
    """Writes a tree as a filter, in one of the many ways that there are."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def _one_of(self, *ways: str) -> str:
        return self._draw(st.sampled_from(ways))

    def write(self, tree: Tree, *, inside: str = "") -> str:
        """`inside` says what binds the tree: nothing, "and", "or" or "not"."""
        match tree:
            case ("and", parts):
                written = self._one_of(" AND ", " ", "\t ").join(
                    self.write(part, inside="and") for part in parts
                )
                return written if inside in {"", "and"} and self._may() else f"({written})"
            case ("or", parts):
                written = " OR ".join(self.write(part, inside="or") for part in parts)
                # OR binds tighter than AND, so that it needs no parentheses there.
                return written if inside in {"", "and", "or"} and self._may() else f"({written})"
            case ("not", part):
                written = self._one_of("NOT ", "-") + self.write(part, inside="not")
                return written if inside != "not" else f"({written})"
            case str():
                return self._text(tree)
        field, operator, value = tree
        space = self._one_of("", " ")
        field = self._one_of(field, field.upper(), f'"{field}"')
        if isinstance(value, bool):
            value = self._one_of(str(value).lower(), f'"{value}"')
        elif isinstance(value, str):
            value = self._text(value)
        else:
            value = self._one_of(f"{value}", repr(float(value)), f"{value:.3e}", f"'{value}'")
        written = f"{field}{space}{operator}{space}{value}"
        return written if self._may() else f"({written})"

    def _may(self) -> bool:
        return self._draw(st.booleans())

    def _text(self, text: str) -> str:
        plain = re.fullmatch(r"[^\s()\"',=<>:!-][^\s()\",=<>:]*", text) and text not in {"or"}
        if plain and self._may():
            return text
        quote = self._one_of('"', "'")
        return quote + text.replace("\\", r"\\").replace(quote, f"\\{quote}") + quote


@st.composite
def filters(draw: st.DrawFn) -> tuple[str, Tree]:
    """A filter, and the tree that it means."""
    tree = draw(trees)
    return Writer(draw).write(tree), tree
