"""The page in a real browser: the scripts run, the tree is unpacked and drawn, nothing is written to the console."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sadt_ray.report.page import write_report
from sadt_ray.report.run_data import read_run

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
SWITCHES = """headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking
disable-component-update disable-sync enable-logging=stderr virtual-time-budget=5000"""
FLAGS = [f"--{switch}" for switch in SWITCHES.split()]

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed")

ASK = """<script>setTimeout(() => {
  const choose = (id, value) => {
    const select = document.getElementById(id);
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  for (const form of ["blocks", "branches"])
    for (const width of ["weight", "leaves", "visits"])
      for (const colour of ["weight", "visits", "log_flow", "value"]) {
        choose("tree-form", form); choose("tree-width", width); choose("tree-colour", colour);
      }
  choose("problem-choice", "01");
  setTimeout(() => {
    const canvas = document.getElementById("tree-canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    canvas.dataset.inked = pixels.filter((value, k) => k % 4 === 3 && value > 0).length / (pixels.length / 4);
    const box = canvas.getBoundingClientRect(), at = { clientX: box.left + box.width / 2, clientY: box.top + 40 };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    canvas.dataset.tip = document.getElementById("tree-tip").textContent;
  }, 500);
}, 1000);</script></body>"""


@pytest.fixture(scope="module")
def dom(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page after its scripts and a reader's clicks, and what the browser logged."""
    folder = tmp_path_factory.mktemp("browser")
    asking = folder / "page.html"
    asking.write_text(write_report(run_dir).read_text(encoding="utf-8").replace("</body>", ASK), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", asking.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


def canvas_data(dom: str, name: str) -> str:
    match = re.search(rf'<canvas[^>]* data-{name}="([^"]*)"', dom)
    assert match is not None, f"the tree view never set {name}"
    return match.group(1)


def test_the_scripts_run_without_a_word_on_the_console(dom: tuple[str, str]) -> None:
    assert "CONSOLE" not in dom[1]


def test_choosing_a_problem_shows_its_figures_and_its_tree(dom: tuple[str, str], run_dir: Path) -> None:
    second = list(read_run(run_dir).trees.values())[1]
    assert re.findall(r'<div class="problem" data-problem="(\d+)" hidden', dom[0]) == ["00"]
    assert int(canvas_data(dom[0], "nodes")) == len(second)
    assert float(canvas_data(dom[0], "weight")) == pytest.approx(second.weight.sum(), rel=1e-12)


def test_the_tree_is_drawn_and_the_pointer_finds_the_root(dom: tuple[str, str], run_dir: Path) -> None:
    second = list(read_run(run_dir).trees.values())[1]
    assert float(canvas_data(dom[0], "inked")) > 0.05
    assert canvas_data(dom[0], "tip").startswith(f"level0node{second.node[0]}soft value")
