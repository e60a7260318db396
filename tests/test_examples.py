"""The examples run where there are no data, and print what they say that they show."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def printed(name, tmp_path):
    """What an example says, run from another directory, without data."""
    places = {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1", "SADT_DATA": ""}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | places,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(line):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def test_a_reward_of_ones_own_pulls_forecasts_to_what_is_known(tmp_path):
    prior, snis, tree, known = map(numbers, printed("reward_of_your_own", tmp_path).splitlines())
    assert prior[1] > 10  # the prior does not know
    assert abs(snis[0] - known[0]) < 1.5
    assert abs(tree[0] - known[0]) < 1.5
    assert tree[3] > 2 * snis[3]  # effective samples


def test_scenarios_of_a_forecast_satisfy_a_condition_in_its_units(tmp_path):
    probability, ends, medians = printed("condition_a_forecast", tmp_path).splitlines()
    assert re.match(r"P = \S+ \(95 %: \S+ to \S+\)", probability)
    evening, day = numbers(ends)
    assert evening >= 1300
    assert day <= 1030
    before, after = numbers(medians)
    assert after > before + 20


def test_a_prior_of_ones_own_is_searched_and_the_exact_answer_is_met(tmp_path):
    exact, snis, counts, values = map(numbers, printed("prior_of_your_own", tmp_path).splitlines())
    assert abs(snis[0] - exact[0]) < 0.3
    assert abs(counts[0] - exact[0]) < 0.3
    assert values[0] < exact[0] - 0.3  # selection by values: log Z comes out low


def test_a_selection_rule_of_ones_own_is_compared_with_the_built_in_ones(tmp_path):
    exact, *rules = printed("puct_selection", tmp_path).splitlines()
    assert [line.split()[0] for line in rules] == ["boltzmann", "uct", "puct"]
    for log_z, best, *_ in map(numbers, rules):
        assert -1 < log_z - numbers(exact)[0] < 0
        assert best > 1.8


def test_methods_are_set_side_by_side_in_python_and_read_again(tmp_path):
    said = printed("in_a_notebook", tmp_path)
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[-4:-1]] == ["prior", "snis", "dts"]
    read, found = numbers(lines[-1])
    assert read == pytest.approx(found, abs=1e-6)


@pytest.mark.slow
def test_a_flow_learns_from_what_sweeps_left_behind(tmp_path):
    _, residual, snis, swept = map(numbers, printed("learn_a_flow", tmp_path).splitlines())
    assert residual[1] < 0.6 * residual[0]
    assert swept[0] < snis[0] + 0.05  # far from lost: TV of nothing but one mode is .75


@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_the_stand_in_tells_a_body_in_motion_from_a_thing_at_rest(tmp_path):
    moving, resting = (line for line in printed("answer_a_question", tmp_path).splitlines() if line[0] != " ")
    assert re.search(r": (biking|running|walking\w*) \(\d+%\)", moving)
    assert re.search(r": (lying|sitting|standing) \(\d+%\)", resting)


@pytest.mark.slow
def test_the_same_search_runs_on_ray_from_python(tmp_path):
    lines = printed("search_on_ray", tmp_path).splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"synthetic/test/000{n}/channel_0" for n in range(2)]
    assert all(" 100 samples" in line and numbers(line)[0] < 0 for line in lines)


def test_every_example_is_short_says_what_is_learned_and_is_run():
    tested = set(re.findall(r'printed\("(\w+)"', Path(__file__).read_text()))
    assert tested == {example.stem for example in EXAMPLES.glob("*.py")}
    for example in EXAMPLES.glob("*.py"):
        assert len(example.read_text().splitlines()) <= 60
        assert "What is learned:" in example.read_text()
