import fcntl
import os
from pathlib import Path

import pytest

from deepmoviematch.indexer import disk


def test_a_short_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, contents: write(file, contents[:3]))
    disk.write_file(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_an_empty_file_is_written(tmp_path: Path) -> None:
    disk.write_file(tmp_path / "a", b"")
    assert (tmp_path / "a").read_bytes() == b""


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    disk.write_file(tmp_path / "a", b"old")
    with pytest.raises(FileExistsError):
        disk.write_file(tmp_path / "a", b"new")


def test_a_plain_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert disk.read_file(tmp_path / "a", most=10) == b"0123456789"
    with pytest.raises(ValueError, match=r"^-.* of 10 bytes, not a plain file of 9 at most"):
        disk.read_file(tmp_path / "a", most=9)


def test_what_is_no_plain_file_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a plain file of 10 at most"):
            disk.read_file(path, most=10)


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    disk.make_folder(tmp_path / "a" / "b" / "c")
    disk.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_replaced_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_bytes(b"of somebody who died")
    disk.replace_file(tmp_path / "a", b"1")
    disk.replace_file(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_is_removed_but_not_what_its_links_point_to(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "kept")
    disk.remove_folder(tmp_path / "a")
    disk.remove_folder(tmp_path / "a")
    assert os.listdir(tmp_path) == ["kept"]


def test_a_lock_keeps_others_out_until_it_is_left(tmp_path: Path) -> None:
    def is_free() -> bool:
        with (tmp_path / "lock").open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    with disk.locked(tmp_path / "lock"):
        assert not is_free()
    assert is_free()
    with pytest.raises(KeyError), disk.locked(tmp_path / "lock"):
        raise KeyError
    assert is_free()
