"""The names of grpcio that are used here and are not public, and whether this grpcio has them.

By them calls are taken from the completion queue (`arrival.py`) and ended (`call.py`). Where they are not
what they were (`SUPPORTED` is false then, which a test and a warning at the start tell), calls go gRPC's own
way: slower, a call that sends no message holds a thread, for which health waits like other calls, and nobody
knows which replies are taken.
"""

import inspect
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

_CALL, _ANSWERING = "rpc_event state", "behavior argument_thunk request_deserializer response_serializer"
_CALLED = {
    "_server._unary_response_in_pool": f"{_CALL} {_ANSWERING}",
    "_server._stream_response_in_pool": f"{_CALL} {_ANSWERING}",
    "_server._handle_with_method_handler": f"{_CALL} method_handler thread_pool",
    "_server._receive_close_on_server": "state",
    "_server._send_message": "state token",
    "_server._is_rpc_state_active": "state",
    "_server._serve": "state",
    "_server._process_event_and_continue": "state event",
    "_server._begin_shutdown_once": "state",
    "_server._request_call": "state",
    "_server._request_registered_call": "state method",
    "_server._HandlerCallDetails": "method invocation_metadata",
    "_common.decode": "b",
    "_common.deserialize": "serialized_message deserializer",
}
"""What is called -> the names of its parameters."""

_READ = {
    "grpc": "_common.STATUS_CODE_TO_CYGRPC_STATUS_CODE _server._ServerStage.STARTED "
    "_server._REQUEST_CALL_TAG _server._SEND_MESSAGE_TOKEN _server._RECEIVE_CLOSE_ON_SERVER_TOKEN "
    "_server._DEALLOCATED_SERVER_CHECK_PERIOD_S",
    "cygrpc": "ReceiveMessageOperation SendMessageOperation SendInitialMetadataOperation "
    "SendStatusFromServerOperation ReceiveCloseOnServerOperation StatusCode.ok CompletionType.queue_timeout "
    "Call.cancel",
    "server": "_state.lock _state.completion_queue.poll _state.rpc_states _state.due _state.stage "
    "_state.thread_pool _state.registered_method_handlers _state.generic_handlers "
    "_state.interceptor_pipeline _state.maximum_concurrent_rpcs _state.server_deallocated",
    "context": "_rpc_event _state.context _state.condition _state.due _state.client "
    "_state.callbacks _state.initial_metadata_allowed",
}
"""What is read of modules, and of objects as gRPC makes them."""


def _is_supported() -> bool:
    try:
        found = {"grpc": grpc, "cygrpc": cygrpc, "server": grpc.server(ThreadPoolExecutor(1))}
        found["context"] = _server._Context(None, _server._RPCState(), None)  # type: ignore
        for whose, names in _READ.items():
            attrgetter(*names.split())(found[whose])
        return all(
            " ".join(inspect.signature(attrgetter(name)(grpc)).parameters) == parameters
            for name, parameters in _CALLED.items()
        )
    except Exception:  # whatever a later grpcio makes of this
        return False


SUPPORTED = _is_supported()
