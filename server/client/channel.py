"""How to connect: what callers in any language should give their channel."""

import json
from typing import Any

import grpc

from deepmoviematch.v1 import recommender_pb2 as pb

SERVICE: str = pb.DESCRIPTOR.services_by_name["RecommenderService"].full_name

SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": SERVICE},
        "methodConfig": [
            {
                "name": [{"service": SERVICE}],
                # A call waits for a connection as long as its deadline allows.
                "waitForReady": True,
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    # Never RESOURCE_EXHAUSTED: more calls are the last thing that helps there.
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        # Enough for all calls in flight to a process that dies; a server that answers
        # nothing any more is not flooded by them.
        "retryThrottling": {"maxTokens": 1000, "tokenRatio": 1},
    }
)

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.max_receive_message_length", -1),
    # A server that vanished without a word is noticed, even between calls.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A server that was restarted is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, number: int, *, health: bool
) -> grpc.Channel:
    """A channel with connections of its own.

    Args:
        address: "host:port" or any other name that gRPC resolves.
        credentials: For TLS; None speaks in the clear.
        number: Tells channels apart that would share a connection otherwise.
        health: Whether to keep away from addresses that do not say that they are healthy.
    """
    options = [
        *_OPTIONS,
        ("grpc.inhibit_health_checking", int(not health)),
        ("deepmoviematch.channel", number),
    ]
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)
