"""``python -m jobs.search --learn``: the real program on the shipped prior, in one process."""

import json
import sys

import pytest

from jobs import search as job
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.network import FlowConfig, FlowNetwork

SERIAL = (
    "--executor",
    "serial",
    "--dataset",
    "synthetic",
    "--channels",
    "channel_6",
    "--reward",
    "none",
    "--no-report",
)
SEARCH = (*SERIAL, "--method", "sadt", "--num-windows", "3", "--n-rollouts", "1024", "--particles", "64")


def run(monkeypatch, *arguments):
    """Exit code of the real main."""
    monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        job.main()
    return stopped.value.code


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    directory = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run(monkeypatch, *SEARCH, "--learn", "--batch-size", 2, "--out", directory) == 0
    return directory


def test_the_run_holds_the_flow_and_says_what_it_cost(learned):
    summary = json.loads((learned / "summary.json").read_text())
    (said,) = [note for note in summary["notes"] if "evaluations that are not in the table" in note]
    figures = summary["learner"]
    assert figures["steps"] > 0
    assert figures["nfe"] > 0
    assert f"{figures['steps']:,.0f} steps" in said
    last = json.loads((learned / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"learner_steps", "learner_nfe"} <= last.keys()
    if (learned / "flow.safetensors").exists():
        assert f"Version {Flow.load(learned / 'flow.safetensors').version} of the flow" in said
        assert figures["validation"] <= figures["base"]
    else:
        assert "No version was better" in said


def test_what_one_search_learned_another_begins_with_and_goes_on_from(learned, tmp_path, monkeypatch):
    flow = learned / "flow.safetensors"
    if not flow.exists():
        pytest.skip("nothing better than the look-ahead was found in so short a time")
    out = tmp_path / "run"
    more = ("--flow", flow, "--learn", "--buffer-path", learned, "--batch-size", 2, "--out", out)
    assert run(monkeypatch, *SEARCH, *more) == 0
    versions = [json.loads(line)["weights_version"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert versions[0] >= Flow.load(flow).version
    rows = json.loads((out / "summary.json").read_text())["learner"]["rows"]
    assert rows > json.loads((learned / "summary.json").read_text())["learner"]["rows"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "dts", "--learn"), "no method reads a flow; name sweep, sadt or sadt-tree"),
        (("--method", "sadt", "--buffer-path", "."), "add --learn"),
        (("--method", "sadt", "--learn", "--no-trajectories"), "leave --no-trajectories out"),
        (("--method", "sadt", "--learn", "--num-windows", "1"), "give it two windows or more"),
        (("--method", "sadt", "--learn", "--buffer-path", "nowhere"), "nowhere holds no trajectories"),
        (("--method", "sadt", "--flow", "nowhere.safetensors"), "there is no flow at nowhere.safetensors"),
        (("--method", "tds", "--reward", "limit:max<1.5"), "has no gradients"),
        (("--method", "sweep", "--particles", "0"), "particles must be at least 1, got 0"),
    ],
)
def test_what_could_not_be_learned_or_used_is_refused_before_a_run_begins(tmp_path, monkeypatch, arguments, message):
    said = run(monkeypatch, *SERIAL, "--n-rollouts", 64, *arguments, "--out", tmp_path / "run")
    assert message in str(said)
    assert not (tmp_path / "run").exists()


def test_a_flow_of_another_reward_is_refused_before_a_run_begins(tmp_path, monkeypatch):
    network = FlowNetwork(FlowConfig(num_features=3, num_positions=18, look_ahead=True))
    Flow.of(network, facts={"reward": "another"}).save(tmp_path / "flow.safetensors")
    said = run(monkeypatch, *SEARCH, "--flow", tmp_path / "flow.safetensors", "--out", tmp_path / "run")
    assert "was trained for the reward another, this search is for 1 * " in str(said)
    assert not (tmp_path / "run").exists()


def test_trajectories_of_another_reward_are_refused(learned, tmp_path, monkeypatch):
    other = ("--spectral-weight", 2, "--learn", "--buffer-path", learned, "--out", tmp_path / "run")
    assert "is of searches for" in str(run(monkeypatch, *SEARCH, *other))
