"""The standard health service: what is served, and when that ends."""

from collections.abc import Callable
from typing import Any

from grpc_health.v1 import health, health_pb2

from .service import NAME


class Health(health.HealthServicer):
    """The standard health service, whose watchers do not hold up the end of the process."""

    def __init__(self) -> None:
        super().__init__()
        self._watchers: set[Callable[[health_pb2.HealthCheckResponse | None], None]] = set()
        self._set_all(health_pb2.HealthCheckResponse.NOT_SERVING)

    def Watch(self, request: Any, context: Any, send_response_callback: Any = None) -> Any:  # noqa: N802
        """See `health.HealthServicer`."""
        if context.add_callback(lambda: self._watchers.discard(send_response_callback)):
            self._watchers.add(send_response_callback)
        return super().Watch(request, context, send_response_callback)

    def serve(self) -> None:
        """Say that requests are answered."""
        self._set_all(health_pb2.HealthCheckResponse.SERVING)

    def end(self) -> None:
        """Say for good that no more requests are taken, and end every watch."""
        self.enter_graceful_shutdown()
        for end_watch in tuple(self._watchers):
            end_watch(None)

    def _set_all(self, status: int) -> None:
        for service in (health.OVERALL_HEALTH, NAME):
            self.set(service, status)
