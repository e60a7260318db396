"""The page in a real browser: the scripts run, the tree is unpacked and drawn, nothing is written to the console."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import NUM_SAMPLES
from pages import BROWSER, FLAGS, NAMES

from sadt_ray.report.page import write_report
from sadt_ray.runs.read import read_run

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed")

# A browser whose time is simulated may end before it has drawn a frame.
FRAMES = "<script>window.requestAnimationFrame = (draw) => setTimeout(draw, 1);</script>"
ASK = """<script>setTimeout(() => {
  const part = (id) => document.getElementById(id), canvas = part("tree-canvas");
  const choose = (id, value) => {
    part(id).value = value;
    part(id).dispatchEvent(new Event("change"));
  };
  const pixels = () => { // of a copy: reading the canvas itself would slow it down
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    copy.getContext("2d").drawImage(canvas, 0, 0);
    return copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data;
  };
  for (const form of ["blocks", "branches"])
    for (const width of ["weight", "leaves", "visits"])
      for (const colour of ["weight", "visits", "log_flow", "value", "reward"]) {
        choose("tree-form", form); choose("tree-width", width); choose("tree-colour", colour);
      }
  choose("problem-choice", "01");
  const look = () => {
    const all = pixels(), box = canvas.getBoundingClientRect();
    canvas.dataset.inked = all.filter((value, k) => k % 4 === 3 && value > 0).length / (all.length / 4);
    const at = { clientX: box.left + box.width / 2, clientY: box.top + 40 };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    canvas.dataset.tip = part("tree-tip").textContent;
    canvas.dataset.low = part("tree-low").textContent;
    return at;
  };
  const walk = () => {
    const stepped = [part("tree-sample").textContent];
    for (const button of ["after", "after", "before", "before", "before"]) {
      part(`tree-${button}`).click();
      stepped.push(part("tree-sample").textContent);
    }
    canvas.dataset.stepped = stepped.map((words) => words.split(",")[0]).join("|");
  };
  const click = (at) => {
    canvas.setPointerCapture = () => {}; // there is no such pointer
    for (const event of ["pointerdown", "pointerup"]) canvas.dispatchEvent(new PointerEvent(event, at));
    canvas.dataset.below = document.querySelector("#tree-drawing").dataset.below;
    canvas.dataset.caption = document.querySelector("#tree-caption").textContent;
    canvas.dataset.drawn = document.querySelector("#tree-drawing .own").getTotalLength();
  };
  const frames = ([[id, value], ...others], before) => { // of each choice, what is orange, and what it has changed
    choose(id, value);
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    requestAnimationFrame(() => { // the page's own frame comes first
      const all = pixels(), orange = (k) => all[k + 3] > 0 && all[k] > all[k + 1] + 60 && all[k] > all[k + 2] + 60;
      const count = (isSo) => Array.from({ length: all.length / 4 }, (_, k) => isSo(4 * k)).filter(Boolean).length;
      canvas.dataset.marked = `${canvas.dataset.marked ?? ""} ${count(orange)}`;
      canvas.dataset.changed = `${canvas.dataset.changed ?? ""} ${count((k) => all[k] !== before?.[k])}`;
      if (others.length) frames(others, all);
    });
  };
  const CHOICES = [["choice", "none"], ["choice", "half"], ["choice", "all"], ["choice", "none"], ["width", "weight"],
    ["colour", "visits"], ["form", "blocks"]].map(([id, value]) => [`tree-${id}`, value]);
  setTimeout(() => { const at = look(); walk(); click(at); frames(CHOICES); }, 500);
}, 1000);</script></body>"""


@pytest.fixture(scope="module")
def dom(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page after its scripts and a reader's clicks, and what the browser logged."""
    folder = tmp_path_factory.mktemp("browser")
    asking = folder / "page.html"
    page = write_report(run_dir).read_text(encoding="utf-8")
    asking.write_text(page.replace("<head>", f"<head>{FRAMES}").replace("</body>", ASK), encoding="utf-8")
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


def test_the_page_shows_what_was_in_flight(dom: tuple[str, str]) -> None:
    assert "What was in flight" in dom[0]
    assert "DTS: 1 batch on 1 worker, of 16 tickets and 0.5 s in the median." in dom[0]


def test_rewards_colour_the_tree(dom: tuple[str, str]) -> None:
    assert "best reward" in canvas_data(dom[0], "low")


def test_a_reader_steps_through_the_samples_drawn_round_and_round(dom: tuple[str, str], run_dir: Path) -> None:
    second = list(read_run(run_dir).trees.values())[1]
    leaves = np.sort(second.weight[second.level == second.level.max()])[::-1]
    half = int(np.searchsorted(np.cumsum(leaves), 0.5)) + 1
    expected = [f"sample {1 + at % half} of {half}" for at in (0, 1, 2, 1, 0, half - 1)]
    assert canvas_data(dom[0], "stepped").split("|") == expected


def test_the_ways_to_the_samples_drawn_are_marked(dom: tuple[str, str]) -> None:
    none, half, every = (int(count) for count in canvas_data(dom[0], "marked").split()[:3])
    assert none == 0
    assert 0 < half < every


def test_a_click_on_the_root_shows_the_series_of_all_samples(dom: tuple[str, str]) -> None:
    assert int(canvas_data(dom[0], "below")) == NUM_SAMPLES
    assert f"{NUM_SAMPLES} samples below it" in canvas_data(dom[0], "caption")
    assert float(canvas_data(dom[0], "drawn")) > 500


def test_every_choice_draws_another_picture(dom: tuple[str, str]) -> None:
    changed = [int(count) for count in canvas_data(dom[0], "changed").split()]
    assert len(changed) == 7
    assert min(changed) > 100
