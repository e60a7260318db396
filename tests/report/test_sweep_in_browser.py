"""The page of a sweep in a real browser: charts are drawn, tables sort and filter, the console stays silent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from typing import Any

import made_up_sweep as made_up
import pytest

from sadt_ray.report.sweep.page import write_sweep_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
SWITCHES = """headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking
disable-component-update disable-sync enable-logging=stderr virtual-time-budget=6000 window-size=1000,900"""
FLAGS = [f"--{switch}" for switch in SWITCHES.split()]

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(NAMES)} is installed")

ASK = """<script>setTimeout(() => {
  const seen = {}, board = document.querySelector(".board"), table = board.querySelector("table");
  const heads = [...table.tHead.rows[0].cells];
  const column = (name) => heads.findIndex((head) => head.textContent.startsWith(name));
  const shown = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const read = (name) => shown().map((row) => row.cells[column(name)].dataset.sort ?? null);
  const choose = (select, value) => {
    select.value = value;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const titles = (id) => [...document.querySelectorAll(`#${id} .xtitle, #${id} .ytitle`)].map((t) => t.textContent);
  seen.before = read("NFE");
  heads[column("NFE")].querySelector("button").click();
  seen.up = read("NFE"); seen.sorted = heads[column("NFE")].getAttribute("aria-sort");
  heads[column("NFE")].querySelector("button").click();
  seen.down = read("NFE");
  heads[column("s/context")].querySelector("button").click(); // the prior, which has no rollouts, is quickest
  heads[column("rollouts")].querySelector("button").click();
  seen.unknown = read("rollouts");
  heads[column("rollouts")].querySelector("button").click();
  seen.turned = read("rollouts"); seen.left = heads[column("NFE")].getAttribute("aria-sort");
  choose(board.querySelector("select[data-by=method]"), "dts");
  seen.methods = read("method"); seen.shown = board.querySelector(".shown").textContent;
  seen.drawn = [...document.querySelectorAll(".chart")].map((chart) => chart.querySelectorAll(".points path").length);
  seen.bars = document.querySelectorAll("#cost-forecast-0 .errorbar").length;
  seen.titles = titles("cost-forecast-0");
  choose(document.querySelector("select[data-charts=cost-forecast][data-pick=x]"), "seconds");
  choose(document.querySelector("select[data-charts=cost-forecast][data-pick=y]"), "reward");
  seen.after = titles("cost-forecast-0");
  choose(document.querySelector("select[data-charts=cost-forecast][data-filter=spectral_weight]"), "1");
  seen.filtered = document.querySelectorAll("#cost-forecast-0 .points path").length;
  document.querySelector(".legend button[data-method=dts]").click();
  seen.without = document.querySelectorAll("#cost-forecast-0 .points path").length;
  document.querySelector(".copy").click();
  seen.command = document.querySelector(".command").textContent;
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.body.dataset.seen = JSON.stringify(seen);
}, 1500);</script></body>"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What the page showed after a reader's clicks, and what the browser logged."""
    folder = tmp_path_factory.mktemp("browser")
    page = write_sweep_report(made_up.write_sweep(folder / "sweep"))
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", ASK), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    match = re.search(r'<body[^>]* data-seen="([^"]*)"', done.stdout)
    assert match is not None, f"the page's scripts did not run: {done.stderr[-2000:]}"
    return json.loads(unescape(match.group(1))), done.stderr


def test_the_scripts_run_without_a_word_on_the_console(asked: tuple[dict[str, Any], str]) -> None:
    assert "CONSOLE" not in asked[1]


def test_a_click_on_a_head_orders_the_rows_and_another_turns_them_round(asked: tuple[dict[str, Any], str]) -> None:
    seen, up = asked[0], [float(value) for value in asked[0]["up"]]
    assert seen["up"] != seen["before"]
    assert up == sorted(up)
    assert [float(value) for value in seen["down"]] == sorted(up, reverse=True)
    assert (seen["sorted"], seen["left"]) == ("ascending", "none")
    for column in (seen["unknown"], seen["turned"]):
        assert column.index(None) == len(column) - column.count(None)  # what is not known is last, either way
    assert [int(value) for value in seen["unknown"] if value] == sorted(int(v) for v in seen["unknown"] if v)


def test_a_choice_leaves_the_other_methods_out(asked: tuple[dict[str, Any], str]) -> None:
    assert set(asked[0]["methods"]) == {"DTS"}
    assert asked[0]["shown"] == f"{len(asked[0]['methods'])} settings"


def test_every_chart_is_drawn_with_its_intervals(asked: tuple[dict[str, Any], str]) -> None:
    drawn = asked[0]["drawn"]
    assert len(drawn) == 6
    assert all(points > 0 for points in drawn[:5])  # the last, of nodes, is lines
    assert asked[0]["bars"] > 5


def test_what_is_chosen_above_a_chart_is_what_it_shows(asked: tuple[dict[str, Any], str]) -> None:
    seen = asked[0]
    assert (seen["titles"], seen["after"]) == (["NFE", "CRPS minus prior's"], ["s/context", "reward"])
    whole = len(made_up.CRPS_EFFECT)  # each once at one spectral weight, the stopped one too
    assert seen["filtered"] == whole
    assert seen["without"] == whole - 3


def test_a_command_can_be_copied_and_the_page_does_not_scroll_sideways(asked: tuple[dict[str, Any], str]) -> None:
    assert asked[0]["command"].startswith("python -m jobs.search --method")
    assert asked[0]["wide"] == 0
