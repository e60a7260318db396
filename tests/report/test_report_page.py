"""The page stands alone, says what the numbers say, and comes with its pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from pages import Page

from jobs import report
from sadt_ray.report.page import write_report
from sadt_ray.report.summary_table import best_value, entry, headline, summary_table


@pytest.fixture(scope="module")
def html(run_dir: Path) -> str:
    return write_report(run_dir).read_text(encoding="utf-8")


def test_the_page_is_well_formed_with_unique_ids(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_the_page_refers_to_nothing_outside_itself(html: str) -> None:
    page = Page(html)
    assert page.references
    assert all(reference.startswith("#") and reference[1:] in page.ids for reference in page.references)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")


def test_names_from_the_run_are_escaped(html: str) -> None:
    assert "<HUFL>" not in html
    assert "&lt;HUFL&gt;" in html
    assert "Synthetic &lt;data&gt;." in html
    assert "a &lt; b &amp; c" in html


def test_every_figure_is_a_png_that_is_not_blank(html: str, run_dir: Path) -> None:
    pictures = {path.stem: imread(path) for path in (run_dir / "plots").glob("*.png")}
    per_problem = {f"{kind}_{index:02d}" for kind in ("fan", "psd") for index in range(2)}
    assert set(pictures) == {"psd_ratio", "rewards", "reward_nfe", "progress", "throughput", "timeline"} | per_problem
    for name, picture in pictures.items():
        height, width = picture.shape[:2]
        assert width == 1440, name
        assert 300 < height < 1600, name
        inked = (picture[..., :3].min(axis=-1) < 0.9).mean()
        assert 0.005 < inked < 0.5, name
        assert f'id="{name}-figure_1"' in html


def test_the_headline_compares_the_tree_with_the_prior_and_the_others(html: str) -> None:
    found = "".join(Page(html).text["h1"])
    assert found == (
        "DTS raises the mean reward from −0.750 (prior) to −0.520 with 60 rollouts; "
        "best-of-N reaches −0.450, SNIS reaches −0.630."
    )


def test_a_loss_is_called_a_loss_and_the_largest_budget_speaks() -> None:
    rows = [
        {"method": "prior", "nfe": 10, "reward": -0.5, "crps": 0.25},
        {"method": "dts", "nfe": 100, "reward": -0.75, "crps": 0.5},
        {"method": "dts", "nfe": 10, "reward": -0.25, "crps": 0.125},
    ]
    found, detail = headline(rows, ["dts"])
    assert found == "DTS lowers the mean reward from −0.500 (prior) to −0.750."
    assert detail == "Lower is better: CRPS 0.500 (prior 0.250)."


def test_another_budget_is_said() -> None:
    rows = [
        {"method": "dts", "budget": "200 rollouts", "reward": -1.5},
        {"method": "snis", "budget": "200 rollouts", "reward": -2.5},
        {"method": "smc", "budget": "9 sweeps", "reward": -3.5},
    ]
    assert headline(rows, ["dts"])[0] == (
        "DTS reaches a mean reward of −1.500 with 200 rollouts; SNIS reaches −2.500, SMC reaches −3.500 with 9 sweeps."
    )


def test_many_other_methods_are_summed_up_by_their_range() -> None:
    rows = [{"method": name, "nfe": 1, "reward": -1.0 - index} for index, name in enumerate("abcdef")]
    assert headline(rows, ["a"])[0] == "a reaches a mean reward of −1; 5 other methods reach −6 to −2."


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], "The run left no rewards."),
        ([{"method": "prior", "reward": -1.5}], "The prior alone was sampled."),
        ([{"method": "dts", "reward": -1.5}], "DTS reaches a mean reward of −1.500."),
    ],
)
def test_the_headline_of_a_small_run(rows: list[dict], found: str) -> None:
    assert headline(rows)[0] == found


def test_the_best_of_a_column_knows_the_direction() -> None:
    rows = [
        {"reward": -2.0, "crps": 0.3, "nfe": 10, "coverage90": 0.97, "ess": 3.0},
        {"reward": -1.0, "crps": 0.2, "nfe": 20, "coverage90": 0.88, "ess": None},
    ]
    best = {column: best_value(rows, column) for column in rows[0]}
    assert best == {"reward": -1.0, "crps": 0.2, "nfe": None, "coverage90": 0.88, "ess": None}


def test_the_table_shows_columns_of_any_row_and_a_dash_for_none() -> None:
    table = summary_table([{"method": "prior", "log_z": None}, {"method": "dts", "log_z": 1.5, "new_thing": 2}])
    assert table.count("<tr>") == 3
    assert "<td>–</td><td>–</td>" in table
    assert "new thing" in table


def test_a_column_keeps_its_decimals() -> None:
    assert [entry("ess", 8.0), entry("log_z", -1234.567), entry("log_z", None)] == ["8.0", "−1,234.57", "–"]


def test_a_run_without_trees_or_metrics_still_has_a_report(fresh_run: Path) -> None:
    (fresh_run / "tree" / "dts.parquet").unlink()
    (fresh_run / "metrics.jsonl").unlink()
    (fresh_run / "plots").mkdir()
    for name in ("progress.png", "throughput.png"):
        (fresh_run / "plots" / name).write_bytes(b"of an earlier report")
    html = write_report(fresh_run).read_text(encoding="utf-8")
    assert Page(html).open == []
    assert "tree-canvas" not in Page(html).ids
    assert "Throughput" not in html
    assert not any((fresh_run / "plots" / name).exists() for name in ("progress.png", "throughput.png"))


def test_the_throughput_is_said_in_words_below_its_figure(html: str) -> None:
    assert "Throughput" in Page(html).text["h2"]
    assert "DTS: 1,600 NFE/s in the median." in Page(html).text["li"]


def test_the_same_files_make_the_same_page(html: str, run_dir: Path) -> None:
    assert write_report(run_dir).read_text(encoding="utf-8") == html


def test_the_command_writes_the_report_and_explains_a_failure(
    fresh_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(fresh_run)])
    report.main()
    assert "report.html" in capsys.readouterr().out
    (fresh_run / "samples.parquet").unlink()
    with pytest.raises(SystemExit, match=r"samples\.parquet is missing"):
        report.main()
