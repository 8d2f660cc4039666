"""Output directories appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from saltjax.errors import UserError
from saltjax.hub.directory import whole_directory


def write(directory: Path, text: str = "new"):
    (directory / "config.json").write_text(text)
    (directory / "sub").mkdir()
    (directory / "sub/file").write_text(text)


def test_appears_only_at_the_end(tmp_path):
    with whole_directory(tmp_path / "a/b/out") as partial:
        write(partial)
        assert not (tmp_path / "a/b/out").exists() and partial.parent == tmp_path / "a/b"
    assert (tmp_path / "a/b/out/sub/file").read_text() == "new"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["out"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        with whole_directory(tmp_path / "out"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, UserError])
def test_an_exception_leaves_nothing(tmp_path, error):
    with pytest.raises(error), whole_directory(tmp_path / "a/b/out") as partial:
        write(partial)
        raise error("stop")
    assert list(tmp_path.iterdir()) == []


def test_existing_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "old")
    with pytest.raises(UserError, match=r"exists already; .* --overwrite"), whole_directory(tmp_path / "out"):
        raise AssertionError("the block must not run")
    assert (tmp_path / "out/sub/file").read_text() == "old"


def test_overwrite_replaces_at_the_end_and_keeps_the_old_on_failure(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "old")
    (tmp_path / "out/stale").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_directory(tmp_path / "out", overwrite=True) as partial:
        write(partial)
        raise KeyboardInterrupt
    assert (tmp_path / "out/sub/file").read_text() == "old"
    with whole_directory(tmp_path / "out", overwrite=True) as partial:
        write(partial)
        assert (tmp_path / "out/sub/file").read_text() == "old"
    assert (tmp_path / "out/sub/file").read_text() == "new" and not (tmp_path / "out/stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_old_one_comes_back_when_the_last_rename_fails(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "old")
    rename = Path.rename

    def failing(self, target):
        if self.suffix == ".partial":
            raise OSError(errno.EIO, "broken disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="broken disk"), whole_directory(tmp_path / "out", overwrite=True) as partial:
        write(partial)
    assert (tmp_path / "out/sub/file").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_overwrite_does_not_delete_what_is_not_ours(tmp_path, monkeypatch):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("years of work")
    with pytest.raises(UserError, match="neither a model nor a run"), whole_directory(tmp_path / "thesis", True):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"), whole_directory(tmp_path / "file", True):
        pass
    (tmp_path / "empty").mkdir()
    with whole_directory(tmp_path / "empty", True) as partial:
        write(partial)
    monkeypatch.chdir(tmp_path / "empty/sub")
    with pytest.raises(UserError, match="holds the current directory"), whole_directory(tmp_path / "empty", True):
        pass
    assert (tmp_path / "thesis/chapter1.tex").exists() and (tmp_path / "file").exists()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    write(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole_directory(tmp_path / "link", overwrite=True) as partial:
        write(partial)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real/config.json").read_text() == "new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_named(tmp_path, number):
    with pytest.raises(UserError, match="out: the disk is full"), whole_directory(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot create"), whole_directory(tmp_path / "file/a/b"):
        pass
    with pytest.raises(UserError, match="cannot write beside it"), whole_directory("/proc/out"):
        pass


def test_someone_else_was_faster(tmp_path):
    with pytest.raises(UserError, match="by another program"), whole_directory(tmp_path / "out") as partial:
        write(partial)
        (tmp_path / "out").mkdir()
        (tmp_path / "out/theirs").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (tmp_path / "out/theirs").exists()


def test_ctrl_c_in_the_middle(tmp_path):
    code = f"""
import time
from saltjax.hub.directory import whole_directory
with whole_directory({str(tmp_path / "deep/out")!r}) as partial:
    (partial / "file").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0 and list(tmp_path.iterdir()) == []
