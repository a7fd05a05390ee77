"""Files that are whole or absent."""

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
