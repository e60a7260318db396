"""``python -m jobs.train flow`` with tiny numbers: the real program, from recorded sweeps to a flow that twists one."""

import json
import sys

import numpy as np
import pytest
import tyro

from jobs import train
from jobs.search_job import SearchJob
from sadt_ray.flow.flow import Flow, FlowTwist
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.forecasting import build_forecast_task
from sadt_ray.interfaces import Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.sampler import ParticleSampler
from sadt_ray.smc.twists import debiased_twist
from sadt_ray.training import flow as training
from sadt_ray.trajectories import FIRST_PARTICLE, TrajectoryWriter

ARGUMENTS = ["--dataset", "synthetic", "--split", "train", "--num-windows", "12", "--reward", "none", "--method",
             "smc-debiased", "--executor", "serial"]  # fmt: skip
LAM = 50.0


def arguments_of(*more):
    job = tyro.cli(SearchJob, args=[*ARGUMENTS, *more, "--channels", "channel_6"])
    return job, build_forecast_task(job, lambda _: None)


def recorded(run, *more):
    """One sweep a window in families of 8, written as a search would write it."""
    job, task = arguments_of(*more)
    process = task.process.with_branch_steps("none")
    chain, scorer = process.bind(task.problems), task.reward.bind(task.problems)
    count, lam = len(task.problems), job.resolved_inv_temperature()
    sweep = SMCConfig(particles=64, twist="debiased", resampling="siblings-8", record_particles=True)
    sampler = ParticleSampler(chain, scorer, process.num_levels, sweep, debiased_twist(chain, scorer, 18, lam), lam)
    numbers = np.arange(count)
    harvest = sampler(
        Tickets(numbers, numbers, numbers, 0 * numbers, chain.root_states(), derive_seeds(0, 0, numbers))
    ).particle_record
    names, zeros = [problem.name for problem in task.problems], np.zeros(count)
    writer = TrajectoryWriter(
        run / "trajectories" / "smc-debiased", names, process.state_shape, np.dtype(process.state_dtype)
    )
    writer.append(numbers, numbers, numbers * 0 - 1, numbers * 0, chain.root_states(), zeros, np.full(count, np.nan))
    ids = FIRST_PARTICLE + np.arange(len(harvest))
    writer.append(
        harvest.ticket, ids, np.where(harvest.parent >= 0, ids[harvest.parent], harvest.ticket), harvest.level,
        harvest.state, harvest.log_flow, harvest.reward, harvest.log_ratio,
    )  # fmt: skip
    writer.finish_part()
    config = {
        "arguments": [*ARGUMENTS, *more, "--channels", "channel_6"],
        "search": {**job.settings(), "reward": repr(task.reward)},
        "methods": [{"name": "smc-debiased", "branch_steps": list(process.branch_steps)}],
    }
    (run / "config.json").write_text(json.dumps(config, default=str))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("run"))


def _main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", "flow", *map(str, arguments)])
    train.main()


def test_recorded_sweeps_become_a_flow_that_twists_one(monkeypatch, tmp_path, run, capsys):
    out = tmp_path / "new" / "flow.safetensors"
    _main(monkeypatch, "--buffer-path", run, "--epochs", 16, "--batch", 64, "--out", out, "--lr", "3e-3")
    assert "Held-out contexts" in capsys.readouterr().out
    record, flow = json.loads(out.with_suffix(".json").read_text()), Flow.load(out)
    assert record["metrics"]["validation_loss"] < record["metrics"]["base_loss"]
    assert (flow.config.min_inv_temperature, flow.config.max_inv_temperature) == (5.0, 80.0)
    assert "Spectral" in flow.facts["reward"]
    assert flow.facts["rows"] == 12 * (1 + 17 * 64)
    assert flow.facts["cost_nfe"] > 1000, "training is charged by its multiply-adds"
    _, task = arguments_of()
    chain, scorer = task.process.bind(task.problems), task.reward.bind(task.problems)
    twist = FlowTwist(flow, FlowInputs(chain, scorer, 18), LAM, 0.0, True)
    walk = chain.walk(chain.root_states(), 0, np.arange(12))
    walk.step(derive_seeds(0, 0, np.arange(12)))
    assert np.isfinite(twist(walk.look()).numpy()).all()


def test_an_interrupted_training_goes_on_to_the_same_flow(monkeypatch, tmp_path, run, capsys):
    settings = ("--buffer-path", run / "trajectories", "--epochs", 15, "--batch", 64, "--lr", "1e-3")
    _main(monkeypatch, *settings, "--out", tmp_path / "whole.safetensors")
    real, calls = training._save, []

    def save_and_stop(training, path):
        real(training, path)
        calls.append(training.step)
        raise KeyboardInterrupt

    out = tmp_path / "stopped.safetensors"
    monkeypatch.setattr(training, "_save", save_and_stop)
    with pytest.raises(SystemExit) as exit_:
        _main(monkeypatch, *settings, "--out", out)
    assert exit_.value.code == 130
    assert calls == [200]
    monkeypatch.setattr(training, "_save", real)
    _main(monkeypatch, *settings, "--out", out, "--resume")
    whole, resumed = Flow.load(tmp_path / "whole.safetensors"), Flow.load(out)
    assert all((whole.weights[name] == value).all() for name, value in resumed.weights.items())
    assert whole.facts == resumed.facts
    with pytest.raises(SystemExit):
        _main(monkeypatch, *settings, "--out", out, "--resume", "--hidden", 48)
    assert "of a training with other hidden" in capsys.readouterr().out


def test_what_a_user_can_get_wrong_is_one_line(monkeypatch, tmp_path, run, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "part-00000.arrow").write_bytes(next((run / "trajectories" / "smc-debiased").glob("*.arrow")).read_bytes())
    (tmp_path / "few").mkdir()
    few = _without_siblings(run, tmp_path / "few")
    other = recorded(tmp_path / "other", "--reward", "limit:max<1.5")
    for paths, message in (
        ([tmp_path / "nowhere"], "does not exist"),
        ([alone], "lies in no run"),
        ([few], "--method smc-debiased --split train"),
        ([run, other], "another reward"),
    ):
        with pytest.raises(SystemExit) as exit_:
            _main(monkeypatch, "--buffer-path", *paths, "--out", tmp_path / "f.safetensors")
        assert exit_.value.code == 2
        output = capsys.readouterr().out
        assert message in output
        assert output.count("\n") == 1


def _without_siblings(run, directory):
    """The same run with its roots alone."""
    (directory / "config.json").write_text((run / "config.json").read_text())
    _, task = arguments_of()
    chain = task.process.bind(task.problems)
    writer = TrajectoryWriter(
        directory / "trajectories" / "smc-debiased", [p.name for p in task.problems], task.process.state_shape,
        np.dtype(task.process.state_dtype),
    )  # fmt: skip
    numbers = np.arange(12)
    writer.append(numbers, numbers, numbers * 0 - 1, numbers * 0, chain.root_states(), numbers * 0.0, numbers * np.nan)
    writer.finish_part()
    return directory


def test_a_training_without_an_epoch_is_refused(monkeypatch, run, capsys):
    with pytest.raises(SystemExit):
        _main(monkeypatch, "--buffer-path", run, "--epochs", 0)
    assert "epochs must be at least 1, got 0" in capsys.readouterr().out
