"""Takes calls from gRPC's completion queue, so that a unary one takes no thread before its message is there.

gRPC takes a thread when a call begins and has it wait for the message. That costs two
more switches between threads, a third of all that a call costs the server; and it lets
a caller who begins calls and sends nothing hold every thread there is. The polling thread, which waits for
the queue's events, does nothing else; here it may be given work that takes less time than to hand it on.
gRPC also asks at once to be told of every call's end, which is one more event for each; here
only those that wait for a thread are asked about at once, the others in one go with their answer.

It rests on names of grpcio that are not public (`privates.py`).
"""

import logging
import os
import threading
import time
from functools import partial
from typing import Any

import grpc
from grpc import _common, _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from deepmoviematch.server.host import privates
from deepmoviematch.server.host.call import Call, Ending, Host

LEAST_S, MOST_S = 0.001, 0.02
"""How long events are seen to between two pieces of work: for as long as the last one took, within these.

A refusal costs a third of the cheapest answer. Were no call taken in before all that wait are answered,
nobody would ever be refused: who floods the server would fill the queue in gRPC's core, where 1,000 wait for
longer than most callers do, and be dropped from there as CANCELLED, as most of a flood of cheap calls are
with half as long. Were every call taken in first, a flood would be refused and nobody answered. In less than
`LEAST_S` too few come together for one step to serve many; and a halt of the machine says nothing of what
answers take.
"""

_NO_METHOD = Ending(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
_NOT_FOUND_OUT = Ending(grpc.StatusCode.UNKNOWN, "Error in service handler!")

_starting = threading.Lock()

log = logging.getLogger(__name__)


def start(server: grpc.Server, host: Host) -> bool:
    """Start a server, and have `host` receive its calls, but for those that stream their requests.

    Args:
        server: As `grpc.server` made it. A handler of its with an attribute `ending` ends calls with that.
        host: Has work to be done whenever there is no event; see `MOST_S` for when there is.

    Returns:
        False if the server was started gRPC's own way: `host` is never asked then. So are servers with
        interceptors and those with a limit of calls at once.
    """
    if not privates.SUPPORTED:
        log.warning(
            "grpcio must have the private names that are used here, got version %s without: half-sent calls "
            "hold threads, and health waits; install the version of requirements.lock",
            grpc.__version__,
        )
    state: Any = vars(server).get("_state")
    if not privates.SUPPORTED or state.interceptor_pipeline or state.maximum_concurrent_rpcs:
        server.start()
        return False
    with _starting:  # gRPC gives the thread whatever has this name now
        usual, _server._serve = _server._serve, partial(_serve, host=host)
        try:
            server.start()
        finally:
            _server._serve = usual
    return True


def _serve(state: Any, host: Host) -> None:
    """Poll; if that fails nobody will ever be answered again, so the process ends for others to see."""
    try:
        _poll(state, host)
    except BaseException:
        try:
            log.critical("a bug has ended the thread that takes calls; so ends the process", exc_info=True)
            logging.shutdown()
        finally:
            os._exit(os.EX_SOFTWARE)


def _poll(state: Any, host: Host) -> None:
    """What gRPC's thread does until the server ends, with work in between."""
    polls_until = 0.0
    while True:
        busy = host.has_work()
        until = 0 if busy else time.time() + _server._DEALLOCATED_SERVER_CHECK_PERIOD_S
        event = state.completion_queue.poll(until)
        if state.server_deallocated:
            _server._begin_shutdown_once(state)
        nothing = event.completion_type == cygrpc.CompletionType.queue_timeout
        if not (nothing or _began(state, event, host) or _server._process_event_and_continue(state, event)):
            return
        event = None  # a call that has ended must not be held while others are waited for
        if busy and (nothing or time.perf_counter() > polls_until):
            began = time.perf_counter()
            host.work()
            ended = time.perf_counter()
            polls_until = ended + min(max(ended - began, LEAST_S), MOST_S)


def _began(state: Any, event: Any, host: Host) -> bool:
    """Whether the event was a new call's, as long as there are to be some; it is seen to then."""
    registered = event.tag in state.registered_method_handlers
    if not (registered or event.tag is _server._REQUEST_CALL_TAG) or not event.success:
        return False
    with state.lock:
        if state.stage is not _server._ServerStage.STARTED:
            return False
        state.due.remove(event.tag)
        _open(state, event, host)
        if registered:
            _server._request_registered_call(state, event.tag)
        else:
            _server._request_call(state)
    return True


def _open(state: Any, event: Any, host: Host) -> None:
    """Give a call to whatever handles it; whoever asks holds the server's lock."""
    handler: Any = None
    ending: Ending | None
    try:
        handler = _handler(state, event)
        ending = _NO_METHOD if handler is None else getattr(handler, "ending", None)
    except Exception:
        log.exception("a bug in looking for a call's handler")
        ending = _NOT_FOUND_OUT
    if ending is None and handler.request_streaming:
        own: Any = _server._RPCState()  # type: ignore[no-untyped-call]
        state.rpc_states.add(own)
        _server._handle_with_method_handler(event, own, handler, state.thread_pool)
        return
    call = Call(event, state, handler, host.untaken)
    state.rpc_states.add(call)
    if ending is None:
        call.await_message(host)
    else:
        call.refuse(ending)


def _handler(state: Any, event: Any) -> Any:
    """What the server has for the method, or None."""
    if event.tag is not _server._REQUEST_CALL_TAG:
        return state.registered_method_handlers[event.tag]
    method = _common.decode(event.call_details.method)
    details = _server._HandlerCallDetails(method, event.invocation_metadata)
    for each in state.generic_handlers:
        handler = each.service(details)
        if handler is not None:
            return handler
    return None
