"""How every command line of the project ends: what the user can cure is one line, never a traceback."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deepmoviematch.data.errors import MovieMatchError

_CALLS = {"grpc", "google"}
"""What speaks to a server, which the extra `train` lacks."""

INTERRUPTED = 130
"""The exit status after SIGINT, as of a shell."""


@contextmanager
def importing(*, extra: str) -> Iterator[None]:
    """Around the imports that a command line begins with: end as `exit_status` does where one fails.

    Args:
        extra: What to install where a library is missing: "train" or "serve".

    Raises:
        SystemExit: Without a library, or after SIGINT.
    """
    try:
        yield
    except ModuleNotFoundError as error:  # another extra was installed
        raise SystemExit(f"error: this needs {error.name}; install deepmoviematch[{extra}]") from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def exit_status(run: Callable[[], None], *, extra: str) -> int:
    """Run a command to its end, and say on standard error what the user can cure.

    Args:
        run: The command; a KeyboardInterrupt of its own may say how to go on.
        extra: What to install where a library is missing: "train" or "serve".

    Returns:
        The exit status: 0, 1 where there is something to cure or whoever read the output has left, or 130
        after SIGINT.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack a title's letters
    try:
        run()
        print(end="", flush=True)  # not when the interpreter ends, which would say so
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 1
    except (MovieMatchError, OSError) as error:
        print("error:", *str(error).splitlines(), file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        needed = "serve" if (error.name or "").split(".")[0] in _CALLS else extra
        print(f"error: this needs {error.name}; install deepmoviematch[{needed}]", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        if cure := str(interrupt):
            print(f"interrupted; {cure}", file=sys.stderr)
        return INTERRUPTED
    return 0
