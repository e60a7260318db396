"""``python -m jobs.train prior`` with tiny numbers: the real program, from a CSV to a prior that samples."""

import json
import sys

import numpy as np
import pytest

from jobs import train
from sadt_ray.data.etth1 import load_csv
from sadt_ray.processes.pretrained import load_prior
from sadt_ray.processes.sampling import sample_prior


@pytest.fixture
def series(tmp_path):
    hour = np.arange(2880)
    noise = np.random.default_rng(0).normal(0, 0.2, (2, len(hour)))
    values = np.stack([np.sin(2 * np.pi * hour / 24), np.cos(2 * np.pi * hour / 24)]) + noise
    lines = [f"2020-01-01,{a:.4f},{b:.4f}" for a, b in values.T]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["date,a,b", *lines]))
    return path


def _main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    train.main()


def test_a_csv_becomes_a_prior_that_forecasts_it(monkeypatch, tmp_path, series, capsys):
    out = tmp_path / "out" / "mine.safetensors"
    _main(monkeypatch, "prior", "--dataset", "mine", "--data-file", series, "--out", out, "--max-steps", 5)
    assert "validation part: crps" in capsys.readouterr().out
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["config"]["denoiser"]["forecast"]["channels"] == 2
    problem = load_csv(series, "mine").problem("test", 0, "a")
    samples = sample_prior(load_prior(out), [problem], 20)[0]
    assert np.corrcoef(samples.mean(0), problem.truth)[0, 1] > 0.9


def test_a_users_mistake_is_one_line_and_status_2(monkeypatch, tmp_path, capsys):
    for arguments in (("--dataset", "Solar"), ("--data-file", tmp_path / "absent.csv")):
        with pytest.raises(SystemExit) as exit_:
            _main(monkeypatch, "prior", *arguments)
        assert exit_.value.code == 2
        output = capsys.readouterr().out
        assert output.startswith("jobs.train: ")
        assert output.count("\n") == 1
