"""Words for people."""


def counted(count: int, what: str) -> str:
    """So many of `what`, a noun whose plural ends in s."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
