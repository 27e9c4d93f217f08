"""Runs the command line; what the user can cure is one line on standard error and exit status 1.

Each command imports what it needs when it runs: serving must not load what only clients use.
"""

import io
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from deepmoviematch.data.errors import MovieMatchError
from deepmoviematch.server.commands import demo, key, loadtest, query, recommend_all, serve
from deepmoviematch.server.program import PROGRAM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; None for those of the process.

    Returns:
        The exit status: 0, 1 where there is something to cure or whoever read the output has left, or 130
        after SIGINT.
    """
    words = sys.argv[1:] if arguments is None else arguments
    chosen = parser().parse_args(words, Namespace(words=words))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it has to say comes as our errors
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack a title's letters
    try:
        chosen.run(chosen)
        print(end="", flush=True)  # not when the interpreter ends, which would say so
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 1
    except (MovieMatchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"error: this needs {error.name}; install deepmoviematch[serve]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> ArgumentParser:
    """The parser of the whole command line."""
    top = ArgumentParser(prog=PROGRAM, description="Recommendations over gRPC.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, query, recommend_all, demo, loadtest, key):
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
