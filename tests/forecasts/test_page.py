"""The page on forecasts does what it shows."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/how-to/forecast.md"


def test_the_code_of_the_page_runs_and_the_samples_follow_what_is_known(capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert "24 steps of h, 2026-01-03 00:00 to 2026-01-03 23:00 Europe/Berlin, 3 quantiles 0.1..0.9" in said
    assert "AR(1) with rho 0.95" in said
    mean = names["result"]["load"].mean()
    assert mean[:6].sum() == pytest.approx(6900, abs=120)  # the forecast alone has 6,100
    assert mean[23] < mean[0]
