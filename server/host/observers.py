"""Who is told of every call besides the log. Each is an extra, loaded only where it is asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deepmoviematch.server.errors import ServeError
from deepmoviematch.server.generations.current import Current
from deepmoviematch.server.rpc.handlers import Observer

if TYPE_CHECKING:
    from deepmoviematch.server.host.metrics import Metrics
    from deepmoviematch.server.host.traces import Traces


def new_metrics() -> "Metrics":
    """Metrics for Prometheus.

    Raises:
        ServeError: If a module is missing.
    """
    with _installed("--metrics-port", "metrics"):
        from deepmoviematch.server.host.metrics import Metrics  # noqa: PLC0415
    return Metrics()


def new_traces(current: Current) -> "Traces":
    """Traces of the calls that are answered from `current`.

    Raises:
        ServeError: If a module is missing.
    """
    with _installed("--traces", "traces"):
        from deepmoviematch.server.host.traces import exporting  # noqa: PLC0415
    return exporting(current)


def all_of(observers: Sequence[Observer]) -> Observer | None:
    """One that tells all of them; None of none, which costs a call nothing."""
    if len(observers) < 2:
        return observers[0] if observers else None

    def observe(*call: Any) -> None:
        for each in observers:
            each(*call)

    return observe


@contextmanager
def _installed(option: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ServeError(
            f"{option} needs {error.name}, which is missing; install deepmoviematch[{extra}]"
        ) from error
