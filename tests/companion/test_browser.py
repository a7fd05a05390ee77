"""The explorer in a real browser against a running JupyterLab: clicks reach the kernel, and its answer the page."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from companion import places, runner
from companion.inputs import Inputs
from companion.papers import PAPERS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60
"""Seconds, on a busy machine."""
CELL = """\
from dataclasses import replace
from pathlib import Path
from companion import places, runner
places.SYNTHETIC, places.CACHE = Path({synthetic!r}), Path({cache!r})
from companion.inputs import Inputs
from companion.report import explore
from companion.papers import PAPERS
from companion.study import Study
study = Study(PAPERS["bpbreid"], "smoke")
run = replace(study.run("k8"), train=replace(study.run("k8").train, iterations=1))
explore(study, runner.trained(Inputs.of(run), progress=False), test_set="synth-occluded", query=0)
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Page:
    """A page of a browser, asked over its debugging port."""

    def __init__(self, folder: Path):
        from websocket import create_connection

        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        flags += ["--remote-allow-origins=*", f"--user-data-dir={folder}", "--window-size=1400,1000"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([CHROMIUM, *flags, "about:blank"], **quiet)
        told = folder / "DevToolsActivePort"
        until(told.exists)
        port = until(lambda: told.read_text().split("\n")[0])
        self.socket = create_connection(self._address(port), timeout=PATIENCE)
        self.number = 0

    @staticmethod
    def _address(port: str) -> str:
        from urllib.request import urlopen

        with urlopen(f"http://localhost:{port}/json") as answer:
            return next(page["webSocketDebuggerUrl"] for page in json.load(answer) if page["type"] == "page")

    def call(self, method: str, **params: object) -> dict:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        return answer["result"]

    def run(self, script: str) -> object:
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait()


def until(found, *, patience: float = PATIENCE, told=str):
    """The first thing found that is true.

    Args:
        told: what stands there instead, for the message.

    Raises:
        AssertionError: nothing is for too long.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {patience} s: {told()}")


@pytest.fixture
def lab(tmp_path, drawn):
    """JupyterLab on a notebook that explores a model; its address."""
    paper = PAPERS["bpbreid"]
    run = paper.run("k8", preset_name="smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "SYNTHETIC", drawn)
        patch.setattr(places, "CACHE", tmp_path / "cache")
        runner.trained(Inputs.of(replace(run, train=replace(run.train, iterations=1))), progress=False)
    source = CELL.format(synthetic=str(drawn), cache=str(tmp_path / "cache"))
    (tmp_path / "lab").mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=kernel)
    nbformat.write(book, tmp_path / "lab" / "explore.ipynb")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += [
        "--ServerApp.ip=localhost",
        "--IdentityProvider.token=secret",
        "--LabApp.expose_app_in_browser=True",
    ]
    command += [f"--ServerApp.root_dir={tmp_path / 'lab'}"]
    places_of = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | places_of | {"IPYTHONDIR": str(tmp_path / "ipython"), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        until(lambda: "secret" in (tmp_path / "lab.log").read_text())
        yield f"http://localhost:{port}/lab/tree/explore.ipynb?token=secret"
    finally:
        server.terminate()
        server.wait()


READY = """
(book => book?.sessionContext.isReady && book.sessionContext.session?.kernel?.status === 'idle')(
  [...jupyterapp.shell.widgets('main')].find(widget => widget.sessionContext))
"""
PICK = """
[...document.querySelectorAll('.widget-dropdown')].filter(w => w.innerText.startsWith('{label}')).forEach(w => {{
  const menu = w.querySelector('select');
  menu.selectedIndex = [...menu.options].findIndex(option => option.text.replaceAll('\\u00a0', ' ') === '{value}');
  menu.dispatchEvent(new Event('change', {{bubbles: true}})); }})
"""


def test_clicks_and_menus_change_what_is_shown(lab, tmp_path):
    page = Page(tmp_path / "browser")
    try:
        page.call("Page.navigate", url=lab)
        until(
            lambda: page.run("!!(window.jupyterapp && document.querySelector('.jp-Notebook .jp-CodeCell'))")
        )
        until(lambda: page.run(READY))
        page.run("void jupyterapp.commands.execute('notebook:run-all-cells')")
        answer = (
            "([...document.querySelectorAll('.jp-OutputArea .widget-html-content')].at(-1)?.innerText || '')"
        )
        until(lambda: "query 0:" in page.run(answer), told=lambda: page.run("document.body.innerText"))
        assert page.run("document.querySelectorAll('.widget-html-content img').length") == 9
        page.run("""document.querySelector('button[title="query 3"]').click()""")
        until(lambda: "query 3:" in page.run(answer))
        page.run(PICK.format(label="ranked by", value="only head"))
        until(lambda: "by only head" in page.run(answer))
        before = page.run("document.querySelector('.widget-html-content img').src")
        page.run(PICK.format(label="attention", value="head"))
        until(lambda: page.run("document.querySelector('.widget-html-content img').src") != before)
        page.run(PICK.format(label="test set", value="synth-market"))
        until(lambda: "synth-market, query 3:" in page.run(answer))
        assert "outranks" in page.run(answer)
    finally:
        page.close()
