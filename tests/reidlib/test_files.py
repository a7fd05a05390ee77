"""Files that are whole or absent."""

import os
import resource
import time

import pytest

from reidlib.files import replacing


def test_the_target_appears_whole_and_alone(tmp_path):
    target = tmp_path / "new" / "file.bin"
    with replacing(target) as handle:
        handle.write(b"half ")
        handle.flush()
        assert not target.exists()
        handle.write(b"and half")
    assert target.read_bytes() == b"half and half"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def fail():
        with replacing(target) as handle:
            handle.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_a_full_disk_names_the_file(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # bytes that a file may have
    try:
        with (
            pytest.raises(OSError, match=r"File too large: .*file\.bin"),
            replacing(tmp_path / "file.bin") as handle,
        ):
            handle.write(bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_an_error_in_words_keeps_them(tmp_path):
    with pytest.raises(OSError, match="^no such format$"), replacing(tmp_path / "file.bin"):
        raise OSError("no such format")


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    """Of this target alone, and never what another process may be writing; whatever the clock says."""
    names = ("a[1].bin.00000000.tmp", "a[1].bin.11111111.tmp", "b.bin.22222222.tmp", "a[1].bin")
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    os.utime(tmp_path / names[1], (time.time() + 90_000,) * 2)  # by a clock that was set back since
    with replacing(tmp_path / names[3]) as handle:
        handle.write(b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
    assert (tmp_path / names[3]).read_bytes() == b"whole"
