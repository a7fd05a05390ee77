"""Where things lie, and whose code it is."""

import os
import subprocess
import sys

import pytest

from companion import places


def test_the_code_of_another_checkout_is_refused(tmp_path):
    """A clone that was copied with its environment would show the first one's numbers."""
    places.check_code(places.ROOT / "notebooks")
    places.check_code(tmp_path)
    (tmp_path / "companion").mkdir()
    (tmp_path / "companion" / "places.py").write_text("")
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(ValueError, match=rf"{tmp_path} would run the code of {places.ROOT}.*make setup"):
        places.check_code(tmp_path / "notebooks")


def test_caches_may_lie_elsewhere(tmp_path):
    code = "from companion import places; print(places.CACHE)"
    elsewhere = os.environ | {"COMPANION_CACHE": str(tmp_path), "PYTHONPATH": str(places.ROOT)}
    said = subprocess.run(
        [sys.executable, "-c", code], env=elsewhere, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == str(tmp_path)
