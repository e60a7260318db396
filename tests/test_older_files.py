"""What 0f50f55 wrote, before the rebuilding, is read today: runs of each kind, a flow, a prior, a buffer."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import sadt_ray
from jobs.resume import kind_of_run
from sadt_ray.flow.buffer import TrajectoryBuffer
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.shipped import WEIGHTS
from sadt_ray.forecasting import settings_of_run
from sadt_ray.processes.pretrained import load_prior
from sadt_ray.training.flow import FlowSettings, train_flow

KEPT = Path(__file__).parent / "fixtures" / "before_the_rebuilding"
EXPECTED = json.loads((KEPT / "expected.json").read_text())


def config_of(run):
    return json.loads((KEPT / run / "config.json").read_text())


def test_a_prior_samples_what_it_sampled_then():
    problem = sadt_ray.Problem("tiny/test/0000/a", np.sin(np.arange(48) / 4.0))
    samples = sadt_ray.sample_prior(load_prior(KEPT / "prior" / "prior.safetensors"), [problem], 2, seed=3)
    np.testing.assert_allclose(samples[0][:, :4], EXPECTED["prior_samples"], atol=1e-5)


def test_flows_say_what_they_said_then():
    given = torch.tensor([0.5, -0.5, -0.01]), torch.tensor([1, 3, 9]), torch.tensor([50.0, 20.0, 30.0])
    for path, expected in (
        (KEPT / "flow" / "flow.safetensors", EXPECTED["flow_log_flow"]),
        (WEIGHTS / "flow_etth1.safetensors", EXPECTED["shipped_flow_log_flow"]),
    ):
        flow, rows = Flow.load(path), len(expected)
        features = torch.linspace(-1, 1, rows * flow.config.num_features).reshape(rows, -1)
        log_flow = flow.network()(features, *(column[:rows] for column in given))
        np.testing.assert_allclose(log_flow.detach().numpy(), expected, rtol=1e-5)


def test_a_buffer_reads_every_row():
    nodes = TrajectoryBuffer([KEPT / "forecast"], 10**6).nodes
    expected = EXPECTED["buffer"]
    assert (len(nodes.node), int(np.isfinite(nodes.reward).sum())) == (expected["rows"], expected["rewards"])
    assert [directory.name for directory in nodes.directories] == expected["directories"]
    assert float(np.nansum(nodes.log_flow)) == pytest.approx(expected["log_flow_sum"])


def test_a_run_is_read_with_the_numbers_it_was_written_with():
    run, written = sadt_ray.read_run(KEPT / "forecast"), json.loads((KEPT / "forecast" / "summary.json").read_text())
    for row in written["rows"]:
        result = run[row["method"]]
        assert np.mean([drawn.mean_reward() for drawn in result]) == pytest.approx(row["reward"])
        assert np.mean([drawn.ess for drawn in result]) == pytest.approx(row["ess"])


@pytest.mark.parametrize(("run", "kind"), [("forecast", "forecast"), ("interrupted", "forecast"), ("stage", "stage")])
def test_the_kind_of_a_run_is_known_though_it_did_not_say(run, kind):
    assert kind_of_run(config_of(run)) == kind


def test_settings_are_found_under_their_new_names():
    settings = settings_of_run(config_of("interrupted"))
    assert settings.record_particles is True  # it was called harvest
    assert settings.reward == "slow_reward:slow"
    assert (settings.virtual_loss, settings.n_rollouts, settings.method) == (0.1, 160, ("snis", "dts", "sadt"))


def test_an_interrupted_run_goes_on_to_its_budget(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(KEPT)
    run = shutil.copytree(KEPT / "interrupted", tmp_path / "interrupted")
    before = json.loads((run / "summary.json").read_text())
    assert not before["complete"]
    comparison = sadt_ray.resume(run, progress=False)
    assert list(comparison) == ["snis", "dts", "sadt"]
    assert [row["rollouts"] for row in comparison.rows] == [160, 160, 160]
    assert json.loads((run / "summary.json").read_text())["complete"]
    assert not (run / "checkpoints").exists()
    reward = {row["method"]: row["reward"] for row in before["rows"]}
    assert comparison.rows[0]["reward"] == pytest.approx(reward["snis"])  # its search had ended


def test_a_flow_is_trained_on_the_trajectories_of_an_older_run(tmp_path):
    paths = (KEPT / "forecast",)
    trained = train_flow(FlowSettings(paths, tmp_path / "flow.safetensors", epochs=1, hidden=8))
    assert trained.flow.facts["reward"] == config_of("forecast")["search"]["reward"]
