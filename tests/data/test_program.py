"""How command lines end."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from deepmoviematch.data.errors import DataError
from deepmoviematch.data.program import exit_status


def raising(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("ratings must be numbers, got 'x'"), "error: ratings must be numbers, got 'x'\n"),
        (DataError("one\ntwo"), "error: one two\n"),
        (PermissionError(13, "Permission denied", "runs"), "error: [Errno 13] Permission denied: 'runs'\n"),
        (ModuleNotFoundError(name="pandas"), "error: this needs pandas; install deepmoviematch[train]\n"),
        (ModuleNotFoundError(name="grpc.aio"), "error: this needs grpc.aio; install deepmoviematch[serve]\n"),
    ],
)
def test_what_can_be_cured_is_one_line(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(raising(error), extra="train") == 1
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    ("interrupt", "said"),
    [(KeyboardInterrupt(), ""), (KeyboardInterrupt("go on"), "interrupted; go on\n")],
)
def test_ctrl_c_is_no_error(
    interrupt: KeyboardInterrupt, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(raising(interrupt), extra="train") == 130
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("module", ["data", "trainer", "indexer", "server"])
def test_ctrl_c_while_libraries_are_imported_is_no_error_either(module: str) -> None:
    program = (
        "import runpy, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('numpy', 'grpc'):\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        f"sys.argv[1:] = {['query', 'find', 'heat'] if module == 'server' else ['--help']}\n"
        f"runpy.run_module('deepmoviematch.{module}', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(raising(ZeroDivisionError()), extra="train")


@pytest.mark.parametrize("module", ["data", "trainer", "indexer", "server"])
def test_a_reader_that_has_left_is_met_in_silence(module: str) -> None:
    program = (
        f"import sys; from deepmoviematch.{module} import __main__ as program; "
        "sys.exit(program.exit_status(lambda: print('words'), extra='train'))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as gone:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=gone, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_letters_that_the_terminal_lacks_are_replaced() -> None:
    program = (
        "import sys; from deepmoviematch.data.program import exit_status; "
        "sys.exit(exit_status(lambda: print('Amélie'), extra='train'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Am?lie\n", b"")
