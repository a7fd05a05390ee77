"""The tally of kills: what is stopped goes on, what is not named stays."""

import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "tools" / "kills.py"
KNOWN = {
    "work": {
        "before a file operation": 2,
        "completed": 1,
        "kills": 2,
        "seconds unbroken": 1.0,
        "temporary files left": 3,
        "faults": ["trial 0: told before"],
    },
    "other": {"kills": 7},
}


@pytest.fixture
def kills(monkeypatch):
    """The tool, with a stage that does nothing, and no process behind it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which it sets
    spec = importlib.util.spec_from_file_location("kills", SOURCE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kills", module)  # where its dataclass looks itself up
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.STAGES, "work", module.Stage(print, lambda folder: {}))
    monkeypatch.setattr(module, "child", lambda stage, folder, *, last="end": last)
    monkeypatch.setattr(module, "ended", lambda last, *, timeout: 0 if last == "end" else -signal.SIGKILL)
    monkeypatch.setattr(module, "unbroken", lambda stage, folder: ({}, 2.0, 9))
    return module


def test_a_tally_that_was_stopped_is_added_to(kills, tmp_path):
    file = tmp_path / "kills.json"
    file.write_text(json.dumps(KNOWN))
    for home in ("first", "second"):
        (tmp_path / home).mkdir()
        known = kills.read(file)["work"]
        options = {"kills": 9, "limit": 60, "seed": 0, "home": tmp_path / home, "known": known}
        for tally in kills.torment("work", **options):
            kills.add(file, {"work": tally})
            if home == "first":
                break  # stopped
        found = kills.read(file)
        assert found["other"] == KNOWN["other"]
        assert found["work"]["kills"] == found["work"]["before a file operation"]
        assert found["work"]["kills"] > known["kills"]
        assert found["work"]["completed"] > known["completed"]
        assert found["work"]["faults"] == KNOWN["work"]["faults"]
        assert found["work"]["temporary files left"] == 3
    assert found["work"]["kills"] == 9
    options["known"] = found["work"]
    assert not [*kills.torment("work", **options)]  # enough
