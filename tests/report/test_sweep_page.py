"""The page of a sweep says what the figures say, shows what went wrong, and lets no name write HTML."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import made_up_sweep as made_up
import pytest

from jobs.reporting import write_page
from sadt_ray.report.sweep.cells import Cell, Grid, to_html, to_markdown
from sadt_ray.report.sweep.compare import by_task, few_against_many, with_minus_reference
from sadt_ray.report.sweep.data import read_sweep
from sadt_ray.report.sweep.headline import headline
from sadt_ray.report.sweep.page import write_sweep_report
from sadt_ray.report.sweep.settings import Setting, pool_settings
from sadt_ray.report.sweep.tables import leaderboard, task_table
from sadt_ray.report.sweep.words import best_of_tasks, how_much


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = made_up.write_sweep(tmp_path_factory.mktemp("page") / f"sweep {made_up.EVIL.replace('/', '')}")
    (path / "runs" / "ETTh1-snis-n200-seed1" / "scores.parquet").write_bytes(b"PAR1")
    write_sweep_report(path)
    return path


@pytest.fixture(scope="module")
def page(sweep_dir: Path) -> str:
    """Without plotly's script, which is long and not ours."""
    text = (sweep_dir / "report.html").read_text(encoding="utf-8")
    return re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def settings(sweep_dir: Path) -> list[Setting]:
    return with_minus_reference(pool_settings(read_sweep(sweep_dir)))


def words(html: str) -> str:
    """What a reader sees."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_headline_says_whether_few_rollouts_equal_many(settings: list[Setting]) -> None:
    said = headline(settings)
    assert said[0] == "S-ADT with 200 rollouts is better than DTS with 2,000 in CRPS on ETTh1."
    assert said[1] == "By log-spectral distance: better on ETTh1. By reward: better on ETTh1."
    assert said[2].startswith("S-ADT with 4 rollouts equals DTS with 40 in accuracy within 2 points on 3 har")


def test_the_headline_admits_that_an_interval_is_too_wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(made_up.CRPS_EFFECT, ("sadt", 200), -0.0302)
    path, entries = tmp_path / "sweep", made_up.forecast_trials("ETTh1")
    made_up.write_index(path, entries)
    for entry in entries:
        made_up.write_forecast(path, entry, windows=2)  # two clusters: a factor of 12.7
    said = headline(pool_settings(read_sweep(path)))[0]
    assert said.endswith("cannot be told from DTS with 2,000 in CRPS on ETTh1, where the interval is too wide.")


def test_without_both_budgets_the_headline_is_what_was_best(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    entries = [entry for entry in made_up.forecast_trials("ETTh1") if entry["n_rollouts"] in (None, 2000)]
    made_up.write_index(path, entries)
    for entry in entries:
        made_up.write_forecast(path, entry)
    (said,) = headline(pool_settings(read_sweep(path)))
    assert said.startswith("ETTh1: best is S-ADT, 2,000 rollouts, CRPS 0.2")
    assert said.endswith("clear of all 3 others.")


def test_what_ran_and_what_did_not_is_counted(sweep_dir: Path, settings: list[Setting]) -> None:
    said = how_much(read_sweep(sweep_dir))
    assert said == (
        "33 of 37 trials complete, 1 failed, 1 stopped early, 1 running, 1 pending, 1 with damaged files, "
        "72 min of wall-clock."
    )
    assert [sentence.split(":")[0] for sentence in best_of_tasks(settings)] == ["ETTh1", "3 har"]


def test_the_leaderboard_ranks_links_runs_that_have_a_page_and_repeats_commands(
    sweep_dir: Path, settings: list[Setting]
) -> None:
    grid = leaderboard(read_sweep(sweep_dir), settings, "forecast")
    assert [row[1].text for row in grid.rows[:2]] == ["S-ADT", "S-ADT"]
    assert [row[1].text for row in grid.rows[-1:]] == ["DTS"]  # the stopped one: last, though its CRPS is lowest
    table = to_html(grid, sortable=True)
    assert 'href="runs/ETTh1-sadt-n2000-seed1/report.html"' in table
    assert "ETTh1-sadt-n2000-seed2/report.html" not in table
    assert 'data-command="python -m jobs.search --method sadt --seed 1' in table
    assert table.count('aria-sort="none"') == len(grid.head) - len(grid.only_page)
    assert table.count('class="best"') == 1


def test_the_table_of_a_task_holds_each_method_s_paired_difference_to_the_prior(settings: list[Setting]) -> None:
    grid = task_table(by_task(settings, "forecast")["ETTh1"])
    (row,) = [row for row in grid.rows if row[0].text == "S-ADT, spectral weight 1"]
    assert grid.head[1:] == ["–", "200 rollouts", "1,000 rollouts", "2,000 rollouts"]
    assert row[4].kind == "best"
    assert row[4].below.startswith("−0.0400 ± 0.00")


def test_no_best_is_marked_where_intervals_of_differences_hold_nought(tmp_path: Path) -> None:
    entries = [made_up.trial(f"{m}", "x", m, 10, 1, kind="stage") for m in ("sadt", "dts")]
    made_up.write_index(tmp_path, entries)
    for entry, right in zip(entries, ([1, 1, 0, 1], [1, 0, 1, 0]), strict=True):
        columns = {"problem": list("abcd"), "cluster": list("ABCD"), "correct": right}
        made_up.write_run(tmp_path / entry["run"], entry["method"], columns, {}, page=False)
    found = pool_settings(read_sweep(tmp_path))
    assert "best" not in to_html(task_table(found))
    assert "highest is S-ADT" in best_of_tasks(found)[0]
    assert "not clearly different from DTS, 10 rollouts" in best_of_tasks(found)[0]


def test_failures_and_damage_are_told_with_error_and_command(page: str) -> None:
    table = page[page.index("Trials without a whole result") :]
    rows = [words(row) for row in re.findall(r"<tr.*?</tr>", table, flags=re.DOTALL)]
    assert any(row.startswith("failed failed 3 out of memory") for row in rows)
    assert any("ETTh1-snis-n200-seed1 files damaged" in row and "is not a Parquet file" in row for row in rows)
    assert {"stopped early", "running", "pending"} <= {
        word for row in rows for word in re.findall(r"stopped early|\w+", row)
    }
    assert "1 run cannot be read" in page


def test_an_oracle_is_labelled_and_never_best_and_a_stand_in_is_named(tmp_path: Path) -> None:
    named = (("dts", 4), ("dts", 40), ("sadt", 4))
    entries = [made_up.trial(f"{m}-{n}", "3 har", m, n, 1, kind="stage") for m, n in named]
    made_up.write_index(tmp_path, entries)
    for entry, right in zip(entries, ([1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]), strict=True):
        columns = {"problem": list("abcd"), "cluster": list("ABCD"), "correct": right}
        row = {"oracle": entry["method"] == "sadt"}
        made_up.write_run(tmp_path / entry["run"], entry["method"], columns, row, page=False)
        (tmp_path / entry["run"] / "config.json").write_text(json.dumps({"stand_in": True}))
    page = words(write_sweep_report(tmp_path).read_text(encoding="utf-8").partition("<script")[0])
    assert "3 har: highest is DTS, 4 rollouts" in page
    assert "S-ADT (oracle)" in page
    assert "The model is a stand-in" in page
    assert "a ceiling and never a result: 3 har." in page
    pairs = few_against_many(pool_settings(read_sweep(tmp_path)))
    assert [(few.method, many.method) for few, many in pairs] == [("dts", "dts")]


def test_what_runs_note_is_told_once_with_their_number(tmp_path: Path) -> None:
    entries = [made_up.trial(f"dts-{seed}", "ETTh1", "dts", 200, seed) for seed in (1, 2)]
    made_up.write_index(tmp_path, entries)
    for entry in entries:
        made_up.write_forecast(tmp_path, entry)
        path = tmp_path / entry["run"] / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"notes": ["No flow <yet>."]}))
    assert "<li>No flow &lt;yet&gt;. (2 runs)</li>" in write_sweep_report(tmp_path).read_text(encoding="utf-8")


def test_no_name_error_or_note_can_write_html(page: str) -> None:
    assert "<b>&" not in page
    assert page.count("&lt;b&gt;&amp;&lt;/script&gt;") >= 4  # command, note, error, title
    assert "out of memory <b>" not in page


def test_the_page_is_well_formed_and_needs_nothing_else(page: str) -> None:
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = dict(attrs)
            source = names.get("src") or (names.get("href") if tag == "link" else None)
            assert source is None or source.startswith("data:"), f"{tag} loads {source}"
            if tag not in ("meta", "link", "br", "img", "input"):
                tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert tags.pop() == tag

    Reader().feed(page)
    assert tags == []


def test_charts_carry_every_figure_they_can_show(page: str) -> None:
    match = re.search(r'<script type="application/json" id="sweep-charts">(.*?)</script>', page, flags=re.DOTALL)
    assert match is not None
    groups: dict[str, Any] = {group["name"]: group for group in json.loads(match.group(1))}
    assert set(groups) == {
        "cost-forecast", "cost-stage", "few-forecast", "few-stage", "effect-spectral_weight-forecast", "nodes",
    }  # fmt: skip
    cost = groups["cost-forecast"]
    assert list(cost["x"]) == ["nfe", "reward_calls", "seconds"]
    assert list(cost["y"]) == ["minus_reference", "crps", "log_spectral_distance", "reward"]
    assert "reward" not in groups["effect-spectral_weight-forecast"]["y"]
    for trace in (t for group in groups.values() for chart in group["charts"] for t in chart["figure"]["data"]):
        sizes = {len(values) for axis in ("x", "y") for values in trace["meta"][axis].values()}
        assert len(sizes) <= 1
    few = groups["few-forecast"]["charts"][0]["figure"]["data"]
    gains = {t["y"][0]: t["x"][0] for t in few}
    against_dts = gains["ETTh1 (spectral weight 1): S-ADT 200 − DTS 2,000"]
    assert against_dts == pytest.approx(100 * 0.001 / (made_up.difficulty("ETTh1", made_up.WINDOWS).mean() - 0.03))


def test_a_sweep_without_any_result_has_a_page_too(tmp_path: Path) -> None:
    entries = [entry | {"status": "pending", "run": None} for entry in made_up.forecast_trials("ETTh1")]
    made_up.write_index(tmp_path, entries, complete=False)
    (tmp_path / "nodes.jsonl").unlink()
    page = write_sweep_report(tmp_path).read_text(encoding="utf-8")
    assert "No trial has left a result yet." in page
    assert "The sweep has not come to its end" in page


def test_the_job_that_makes_reports_knows_a_sweep_by_its_trials(tmp_path: Path) -> None:
    entry = made_up.trial("one", "ETTh1", "dts", 200, 1)
    made_up.write_index(tmp_path, [entry])
    made_up.write_forecast(tmp_path, entry)
    assert write_page(tmp_path) == tmp_path / "report.html"
    assert "ETTh1: only DTS, 200 rollouts" in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_markdown_holds_the_tables_and_no_markup_of_names(sweep_dir: Path) -> None:
    text = (sweep_dir / "results.md").read_text(encoding="utf-8")
    assert text.startswith("S-ADT with 200 rollouts is better than DTS with 2,000 in CRPS on ETTh1.")
    lines = text.splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith("| task | method |"))
    assert "runs" not in lines[head]
    assert len({line.count(" | ") for line in lines[head : head + 10]}) == 1
    assert to_markdown(Grid(["a"], [[Cell("x|y_<b>", kind="best")]])).splitlines()[2] == r"| **x\|y\_\<b\>** |"
