"""The page on scenarios does what it shows, and says what the command says."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/condition.md").read_text()


def test_the_code_of_the_page_runs_and_every_scenario_satisfies_the_condition(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(code, "condition.md", "exec"), names)
    said = capsys.readouterr().out
    found, scenarios = names["found"], names["scenarios"]
    assert said.startswith("P(max[18:00..22:00] > 1350 and mean[day 1] < 1080) = ")
    assert "the mean value in MW on day 1 (2026-01-03, 24 steps) is below 1,080 (hard)" in said
    assert len(scenarios) == 48
    assert scenarios.shape[1] == 100 or found.notes
    assert (scenarios[scenarios.index.hour.isin(range(18, 23))].max() > 1350).all()
    assert (scenarios[scenarios.index.day == 3].mean() < 1080).all()
    assert names["quantiles"].shape == (48, 3)
    assert 0 < found.interval[0] < found.probability < found.interval[1] < 1


def test_the_example_forecast_is_what_its_script_makes(monkeypatch, tmp_path):
    script = ROOT / "examples/data/make_load.py"
    copy = tmp_path / "make_load.py"
    copy.write_text(script.read_text())
    exec(compile(copy.read_text(), str(copy), "exec"), {"__file__": str(copy)})
    assert (tmp_path / "load.csv").read_text() == (ROOT / "examples/data/load.csv").read_text()
    assert "CC0" in script.read_text()
