"""Places of the tests' own, so that no test reads or writes the checkout's data, results or caches."""

from pathlib import Path

import pytest

from companion import places


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """Where the synthetic benchmark of the smoke preset lies, drawn once for all tests of a process."""
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture
def scratch(tmp_path, drawn, monkeypatch) -> Path:
    """Data, results and caches below a folder of the test."""
    monkeypatch.setattr(places, "DATA", tmp_path / "data")
    monkeypatch.setattr(places, "SYNTHETIC", drawn)
    monkeypatch.setattr(places, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(places, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path
