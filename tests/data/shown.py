"""What tests of readers compare: the tables as people would write them down."""

from deepmoviematch.data.dataset import Dataset


def triples(data: Dataset) -> list[tuple[str, str, float]]:
    """The ratings for people: user, item, rating."""
    table = data.ratings
    return [
        (table.user_ids[user], data.catalogue.item_ids[item], float(rating))
        for user, item, rating in zip(table.users, table.items, table.ratings, strict=True)
    ]


def genres(data: Dataset) -> list[tuple[str, ...]]:
    return [data.catalogue.genres_of(row) for row in range(len(data.catalogue))]


def further(data: Dataset) -> dict[str, tuple[str, tuple[object, ...]]]:
    return {column.name: (column.kind.value, column.values) for column in data.catalogue.columns}


def devices(data: Dataset) -> list[str | None]:
    table = data.ratings
    assert table.devices is not None
    return [table.device_names[row] if row >= 0 else None for row in table.devices]
