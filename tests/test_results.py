"""Results have names: by problem and by method, in memory and as files."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import sadt_ray
from sadt_ray import Problem, ProblemSamples, SampleResult, WeightedSamples, dts, prior, read_run, read_runs, snis
from sadt_ray import search as grow
from sadt_ray.methods import Method
from sadt_ray.metrics import crps, quantiles
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.runs.results import COLUMNS, MAX_ROWS, NO_SAMPLE, NO_WEIGHT, no_samples
from sadt_ray.runs.summary import score_problem, summary_row

FIXTURES = Path(__file__).parent / "fixtures" / "before_the_rebuilding"
PROCESS = MarkovChainProcess.random(num_tokens=3, depth=4, seed=1)
TWO = [Problem("a/0/left", np.zeros(3), truth=np.full(4, 1.0)), Problem("a/0/right", np.ones(3))]


class CountTwos:
    oracle = False

    def bind(self, problems):
        return lambda samples, problem: (samples == 2).sum(1).astype(float)


class NeverTheFirst:
    """Impossible for the first problem."""

    oracle = False

    def bind(self, problems):
        return lambda samples, problem: np.where(problem == 0, -np.inf, 0.0)


def drawn(samples, weights=None, log_z=-1.5, **others) -> WeightedSamples:
    samples = np.asarray(samples)
    count = len(samples)
    weights = np.full(count, 1 / count) if weights is None else np.asarray(weights, float)
    rewards = others.pop("rewards", np.linspace(-1, 0, count))
    return WeightedSamples(samples, weights, rewards, 16 * np.arange(1, count + 1), log_z, 2.0, **others)


def result_of(samples: list[WeightedSamples], problems: list[Problem] | None = None, **others) -> SampleResult:
    problems = [Problem(f"p{k}", np.zeros(2)) for k in range(len(samples))] if problems is None else problems
    method: Method | str = others.pop("method", dts(inv_temperature=2.0, n_rollouts=8))
    cost = {name: np.full(len(samples), count) for name, count in (("nfe", 32), ("reward_calls", 8), ("rollouts", 8))}
    return SampleResult(method, problems, samples, seconds=0.5, **cost, **others)


@pytest.fixture(scope="module")
def searched():
    method = dts(inv_temperature=1.0, n_rollouts=60)
    return method, grow(PROCESS, TWO, CountTwos(), method)


@pytest.fixture(scope="module")
def result(searched) -> SampleResult:
    method, search = searched
    return SampleResult.of_search(method, TWO, search, seconds=3.0)


# one result, many problems


def test_a_result_is_read_by_place_by_name_and_in_loops(result: SampleResult) -> None:
    assert len(result) == 2
    assert result[0] is result["a/0/left"]
    assert result[-1] is result["a/0/right"]
    assert [samples.name for samples in result] == result.names() == list(dict(result))
    left, right = result
    assert (left.problem, right.problem) == tuple(TWO)
    assert result[1:] == (right,)
    assert result.index(right) == 1
    assert "a/0/left" in result
    assert left in result
    assert "left" not in result
    with pytest.raises(KeyError, match="did you mean 'a/0/left'"):
        _ = result["a/0/lef"]
    with pytest.raises(IndexError):
        _ = result[2]


def test_elements_have_all_that_weighted_samples_have(searched, result: SampleResult) -> None:
    _, search = searched
    for mine, theirs in zip(result, search.samples(), strict=True):
        assert isinstance(mine, WeightedSamples)
        for name in ("samples", "weights", "rewards", "nfe_at", "nodes"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        for name in ("log_z", "ess", "root_ess", "log_z_se", "mean_reward_se"):
            assert getattr(mine, name) == getattr(theirs, name)
        assert mine.mean_reward() == theirs.mean_reward()
        seeds = np.random.default_rng(0), np.random.default_rng(0)
        np.testing.assert_array_equal(mine.draw(50, seeds[0]), theirs.draw(50, seeds[1]))


def test_costs_are_the_searches(searched) -> None:
    method, search = searched
    many = replace(method, smc=replace(method.smc, particles=4, resampling="systematic"))
    result = SampleResult.of_search(many, TWO, search, seconds=3.0)
    np.testing.assert_array_equal(result.nfe, search.nfe)
    np.testing.assert_array_equal(result.reward_calls, search.reward_calls)
    np.testing.assert_array_equal(result.rollouts, 4 * search.told)


def test_columns_must_fit_and_names_differ() -> None:
    with pytest.raises(ValueError, match="nfe must have one entry per problem, 2, got 3"):
        SampleResult(dts(), TWO, [drawn([[1.0]])] * 2, [1, 2, 3], [1, 2], [1, 2], 1.0)
    with pytest.raises(ValueError, match="'a/0/left' occurs more than once"):
        result_of([drawn([[1.0]])] * 2, [TWO[0], TWO[0]])


# numbers


def test_weighted_quantiles_and_means_have_their_closed_form() -> None:
    """The sample of rank i stands at C_i - w_i / 2; between two of weight 1/4 and 3/4 the median is interpolated."""
    (found,) = result_of([drawn([[0.0], [1.0]], [0.25, 0.75])])
    places = np.array([0.125, 0.625])
    np.testing.assert_allclose(found.quantiles([0.5]), [[np.interp(0.5, places, [0.0, 1.0])]])
    np.testing.assert_allclose(found.mean(), [0.75])
    ninety_nine = drawn(np.arange(1.0, 100.0)[:, None])
    np.testing.assert_allclose(result_of([ninety_nine])[0].quantiles([0.1, 0.5, 0.9])[:, 0], [10, 50, 90])


def test_quantiles_keep_the_shape_of_a_sample() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3, 5))
    result = result_of([drawn(values)])
    found = result[0].quantiles([0.2, 0.8])
    assert found.shape == (2, 3, 5)
    np.testing.assert_array_equal(found[:, 1], quantiles(values[:, 1], [0.2, 0.8]))
    assert result[0].mean().shape == (3, 5)
    assert result_of([drawn(np.arange(4.0))])[0].quantiles([0.5]).shape == (1,)
    by_name = result.quantiles([0.2, 0.8])
    assert list(by_name) == ["p0"]
    np.testing.assert_array_equal(by_name["p0"], found)


@pytest.mark.parametrize("method", [snis, dts, prior])
def test_the_summary_is_that_of_a_run(method) -> None:
    method = method(inv_temperature=1.0, n_rollouts=40)
    search = grow(PROCESS, TWO, CountTwos(), method)
    samples = search.samples()
    scores = [score_problem(problem, found) for problem, found in zip(TWO, samples, strict=True)]
    expected = summary_row(method, search, samples, scores, None, 3.0)
    found = SampleResult.of_search(method, TWO, search, seconds=3.0).summary()
    assert found == expected
    assert list(found) == list(expected)


def test_several_channels_are_scored_together() -> None:
    rng = np.random.default_rng(2)
    values, truth = rng.normal(size=(30, 3, 8)), rng.normal(size=(3, 8))
    summary = result_of([drawn(values)], [Problem("joint", np.zeros((3, 4)), truth=truth)]).summary()
    weights = np.full(30, 1 / 30)
    assert summary["crps"] == pytest.approx(np.mean([crps(values[:, c], truth[c], weights) for c in range(3)]))


# the table


def cells(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def test_the_table_has_the_numbers_of_the_result(result: SampleResult) -> None:
    title, header, left, right = repr(result).splitlines()
    assert title == f"dts: 2 problems, {sum(len(found.weights) for found in result)} samples"
    assert header.split() == " ".join(COLUMNS).split()
    found = result[0]
    score = float(crps(found.samples, TWO[0].truth, found.weights))
    numbers = [60, result.nfe[0], found.mean_reward(), found.log_z, found.log_z_se, found.ess, found.root_ess, score]
    read = [float(cell) for cell in left.replace("/", "").replace("a0left", "").split()]
    np.testing.assert_allclose(read, numbers, rtol=1e-3)
    assert right.split()[0] == "a/0/right"
    assert right.split()[-1] == "-"  # no truth


def test_without_any_truth_there_is_no_column_for_its_score() -> None:
    assert "CRPS" not in repr(result_of([drawn([[1.0], [2.0]])]))


def test_a_long_table_is_cut() -> None:
    result = result_of([drawn([[1.0], [2.0]])] * 33)
    lines = repr(result).splitlines()
    assert len(lines) == 2 + MAX_ROWS + 1
    assert lines[-1] == "... and 13 more"


class Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.said.append(data)


def test_html_is_escaped() -> None:
    name = "<script>alert(1)</script>"
    result = result_of([drawn([[1.0], [2.0]])], [Problem(name, np.zeros(2))], notes=["a <b> & c"])
    page = Reader(result._repr_html_())
    assert set(page.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert name in page.said
    assert "a <b> & c" in page.said


def test_an_element_is_shown_in_a_line() -> None:
    shown = repr(result_of([drawn(np.zeros((3, 7)))])[0])
    assert shown == "<ProblemSamples 'p0': 3 samples of shape [7], reward -0.5, log Z -1.5, ESS 3>"


# degenerate results


def test_a_problem_that_the_reward_rules_out_is_no_success() -> None:
    method = dts(inv_temperature=1.0, n_rollouts=50)
    search = grow(PROCESS, TWO, NeverTheFirst(), method)
    result = SampleResult.of_search(method, TWO, search, seconds=1.0)
    ruled_out, fine = result
    assert ruled_out.weightless
    assert (ruled_out.ess, ruled_out.root_ess, ruled_out.log_z) == (0.0, 0.0, -math.inf)
    assert np.isnan(ruled_out.quantiles([0.5])).all()
    assert np.isnan(ruled_out.mean()).all()
    with pytest.raises(ValueError, match="nothing can be drawn for problem 'a/0/left': no sample has any weight"):
        ruled_out.draw(1, np.random.default_rng(0))
    for shown in (repr(result), result._repr_html_(), repr(ruled_out)):
        assert NO_WEIGHT in shown
    assert "1 of 2 problems: no sample has any weight" in repr(result)
    summary = result.summary()
    assert summary["without_weight"] == 1
    assert summary["log_z"] == -math.inf
    assert summary["ess"] == fine.ess / 2
    assert summary["reward"] == 0.0
    assert summary["crps"] is None  # only the impossible problem has a truth


def test_where_nothing_has_weight_there_are_no_averages() -> None:
    result = result_of([drawn([[1.0], [2.0]], log_z=-math.inf, rewards=np.full(2, -math.inf))])
    summary = result.summary()
    assert (summary["reward"], summary["crps"], summary["ess"]) == (None, None, 0.0)
    assert summary["without_weight"] == 1
    weighed = result_of([drawn([[1.0], [2.0]])]).summary()
    assert list(summary) == [*weighed, "without_weight"]
    assert f"1 problem: {NO_WEIGHT}." in repr(result)


def test_samples_of_the_prior_keep_their_weights_whatever_the_reward() -> None:
    method = prior(inv_temperature=1.0, n_rollouts=50)
    search = grow(PROCESS, TWO, NeverTheFirst(), method)
    left = SampleResult.of_search(method, TWO, search, seconds=1.0)[0]
    assert not left.weightless
    assert left.ess == pytest.approx(50)
    assert left.remark == NO_WEIGHT  # it is said nevertheless
    assert np.isfinite(left.mean()).all()


def test_a_problem_without_a_sample_is_in_the_result(tmp_path: Path) -> None:
    """As after a search of which every rollout of one problem came to nothing, or that has only begun."""
    problems = [Problem("some", np.zeros(2)), Problem("none", np.zeros(2))]
    result = result_of([drawn(np.zeros((4, 5))), no_samples(-math.inf, np.zeros((4, 5)))], problems)
    none = result["none"]
    assert none.weightless
    assert none.ess == 0.0
    assert math.isnan(none.mean_reward())
    assert none.quantiles([0.1, 0.9]).shape == (2, 5)
    assert np.isnan(none.quantiles([0.1, 0.9])).all()
    assert NO_WEIGHT in repr(result)
    assert result.summary()["without_weight"] == 1
    assert len(result.to_arrow()) == 4
    assert len(result.to_frame()) == 20
    found = read_run(result.save(tmp_path / "run"))["dts"]
    assert found.summary() == result.summary()
    assert found["none"].samples.shape == (0, 5)


def test_before_the_first_rollout_nothing_is_known() -> None:
    method = dts(n_rollouts=5)
    search = sadt_ray.engine.plan.plan_search(PROCESS, TWO, method).begin()
    result = SampleResult.of_search(method, TWO, search, seconds=0.0)
    assert all(math.isnan(found.log_z) and found.remark == NO_SAMPLE for found in result)
    assert f"2 of 2 problems: {NO_SAMPLE}." in repr(result)
    assert len(result.to_arrow()) == 0
    assert len(result.to_frame()) == 0


# tables for programs


def test_the_frame_is_long() -> None:
    frame = result_of([drawn([[1.0, 2.0], [3.0, 4.0]], [0.25, 0.75])]).to_frame()
    assert list(frame.columns) == ["problem", "sample", "weight", "reward", "step", "value"]
    assert frame["value"].tolist() == [1, 2, 3, 4]
    assert frame["step"].tolist() == [0, 1, 0, 1]
    assert frame["weight"].tolist() == [0.25, 0.25, 0.75, 0.75]
    mean = (frame["weight"] * frame["value"]).groupby(frame["step"]).sum()
    np.testing.assert_allclose(mean, [2.5, 3.5])


def test_several_channels_have_a_column_of_the_frame() -> None:
    values = np.arange(12.0).reshape(2, 2, 3)
    frame = result_of([drawn(values)]).to_frame().set_index(["sample", "channel", "step"])
    for place, value in np.ndenumerate(values):
        assert frame.loc[place, "value"] == value
    assert "axis_3" in result_of([drawn(np.zeros((2, 1, 1, 1)))]).to_frame()


def test_without_pandas_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sadt_ray.runs.results.__dict__, "import_module", lambda name: (_ for _ in ()).throw(ImportError())
    )
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install pandas"):
        result_of([drawn([[1.0]])]).to_frame()


def test_texts_work_everywhere(tmp_path: Path) -> None:
    texts = np.array(["rain, then <b>sun</b>", "sun"])
    problems = [Problem("weather", np.zeros(3)), Problem("later", np.zeros(3))]
    result = result_of([drawn(texts, [0.25, 0.75]), no_samples(-math.inf)], problems)
    found = result["weather"]
    for what in (lambda: found.quantiles([0.5]), found.mean, lambda: result.quantiles([0.5])):
        with pytest.raises(ValueError, match="samples of problem 'weather' are texts, which have no"):
            what()
    assert set(found.draw(40, np.random.default_rng(0))) == set(texts)
    frame = result.to_frame()
    assert list(frame.columns) == ["problem", "sample", "weight", "reward", "text"]
    assert frame["text"].tolist() == texts.tolist()
    assert result.to_arrow()["text"].to_pylist() == texts.tolist()
    assert result.summary()["crps"] is None
    assert "weather" in repr(result)
    again = read_run(result.save(tmp_path / "run"))["dts"]
    np.testing.assert_array_equal(again["weather"].samples, texts)
    np.testing.assert_array_equal(again["weather"].weights, [0.25, 0.75])
    assert len(again["later"].samples) == 0


@st.composite
def weighted(draw, shape: tuple[int, ...], dtype: type) -> WeightedSamples:
    count = draw(st.integers(0, 6))
    values = draw(arrays(dtype, (count, *shape)))
    weights = draw(arrays(np.float64, count, elements=st.floats(0.0, 1.0)))
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(count, 1 / max(count, 1))
    rewards = draw(arrays(np.float64, count, elements=st.floats(allow_nan=False)))
    nodes = draw(st.sampled_from([None, np.arange(count)]))
    return WeightedSamples(values, weights, rewards, np.arange(count) * 3, -1.0, 1.0, nodes=nodes)


@given(st.data())
def test_arrow_holds_every_sample(data) -> None:
    shape = data.draw(st.sampled_from([(), (3,), (2, 3), (1, 2, 2), (0,)]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.int64]))
    samples = data.draw(st.lists(weighted(shape, dtype), min_size=1, max_size=3))
    result = result_of(samples)
    table = result.to_arrow()
    assert table.column_names == ["method", "problem", "sample", "weight", "reward", "nfe_at", "node", "values"]
    rows = table.to_pylist()
    assert len(rows) == sum(len(found.weights) for found in samples)
    for found in result:
        mine = [row for row in rows if row["problem"] == found.name]
        assert [row["sample"] for row in mine] == list(range(len(found.weights)))
        assert [row["weight"] for row in mine] == found.weights.tolist()
        assert [row["reward"] for row in mine] == found.rewards.tolist()
        assert [row["nfe_at"] for row in mine] == found.nfe_at.tolist()
        values = np.array([row["values"] for row in mine], dtype).reshape(found.samples.shape)
        np.testing.assert_array_equal(values, found.samples)
        nodes = [None] * len(mine) if found.nodes is None else found.nodes.tolist()
        assert [row["node"] for row in mine] == nodes


# files


def same(mine: SampleResult, theirs: SampleResult) -> None:
    """To the last bit."""
    assert mine.names() == theirs.names()
    assert mine.method_name == theirs.method_name
    for name in ("nfe", "reward_calls", "rollouts"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    for one, other in zip(mine, theirs, strict=True):
        for name in ("samples", "weights", "rewards", "nfe_at"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in ("log_z", "ess", "root_ess", "log_z_se", "mean_reward_se"):
            assert getattr(one, name) == getattr(other, name)
        np.testing.assert_array_equal(one.problem.context, other.problem.context)
        truths = one.problem.truth, other.problem.truth
        assert all(truth is None for truth in truths) or np.array_equal(*truths)
    assert mine.summary() == theirs.summary()
    assert repr(mine) == repr(theirs)


def test_what_is_saved_is_read_back(result: SampleResult, tmp_path: Path) -> None:
    run = read_run(result.save(tmp_path / "deep" / "run"))
    assert run.methods == ["dts"]
    assert run.complete
    found = run["dts"]
    same(found, result)
    assert found.method == result.method
    assert found.seconds == pytest.approx(3.0)
    assert found.run == tmp_path / "deep" / "run"
    assert run.summary() == [result.summary()]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]  # nothing unfinished beside it
    same(read_run(found.save(tmp_path / "again"))["dts"], found)


@pytest.mark.parametrize("shape", [(2, 3), (5,), (1, 2, 2)])
def test_channels_are_saved(shape: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    problems = [Problem(name, rng.normal(size=shape), truth=rng.normal(size=shape)) for name in "ab"]
    result = result_of([drawn(rng.normal(size=(4, *shape)).astype(np.float32)) for _ in problems], problems)
    same(read_run(result.save(tmp_path / "run"))["dts"], result)


def test_a_report_can_be_made_of_what_is_saved(tmp_path: Path) -> None:
    page = pytest.importorskip("sadt_ray.report.page")
    rng = np.random.default_rng(0)
    problem = Problem("<series>", rng.normal(size=120), truth=rng.normal(size=60))
    run = result_of([drawn(rng.normal(size=(20, 60)))], [problem]).save(tmp_path / "run")
    text = page.write_report(run).read_text()
    assert "&lt;series&gt;" in text
    assert "<series>" not in text


def test_a_directory_with_anything_in_it_is_refused(result: SampleResult, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ValueError, match="is not an empty directory; choose another one, or remove it"):
            result.save(place)
    (tmp_path / "empty").mkdir()
    assert read_run(result.save(tmp_path / "empty")).methods == ["dts"]


def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path: Path) -> None:
    result = result_of([drawn([[1.0]])], [Problem("ragged", [[1.0], [1.0, 2.0]])])
    with pytest.raises(ValueError, match="context of problem 'ragged' cannot be written as an array of numbers"):
        result.save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


# runs of earlier versions


def test_a_run_of_forecasts_is_read() -> None:
    run = read_run(FIXTURES / "forecast")
    assert list(run) == run.methods == ["prior", "snis", "dts", "dts-late", "sadt"]
    assert len(run) == 5
    assert run.complete
    rows = json.loads((FIXTURES / "forecast" / "summary.json").read_text())["rows"]
    assert run.summary() == rows
    for row in rows:
        result = run[row["method"]]
        assert result.summary() == row
        fresh = SampleResult(**{**vars_of(result), "recorded": None}).summary()
        for name in ("method", "budget", "nfe", "reward", "best_reward", "log_z", "ess", "crps", "coverage90"):
            assert fresh[name] == (pytest.approx(row[name]) if name not in ("method", "budget") else row[name])
        assert all(math.isnan(found.root_ess) for found in result)  # only its average is in the files
        assert np.isnan(result.rollouts).all()
        assert result[0].nodes is not None or row["method"] not in ("dts", "sadt")
    sadt = run["sadt"].method
    assert isinstance(sadt, Method)
    assert (sadt.smc.particles, sadt.smc.guidance, sadt.search.inv_temperature) == (32, "possible", 50.0)
    frame = run.to_frame()
    assert list(frame.columns)[:2] == ["method", "problem"]
    assert len(frame) == 256 * 96
    with pytest.raises(KeyError, match="has no samples of method 'fk'; it has prior, snis"):
        _ = run["fk"]


def vars_of(result: SampleResult) -> dict:
    names = ("method", "problems", "nfe", "reward_calls", "rollouts", "seconds", "notes", "run")
    return {name: getattr(result, name) for name in names} | {"samples": list(result)}


def test_an_interrupted_run_is_read() -> None:
    run = read_run(FIXTURES / "interrupted")
    assert not run.complete
    assert run.methods == ["snis", "dts"]
    assert "stopped before its budgets were spent" in repr(run)
    result = run["dts"]
    (row,) = [row for row in run.rows if row["method"] == "dts"]
    (found,) = result  # of one problem the averages are its own figures
    assert (found.log_z, found.log_z_se, found.root_ess) == (row["log_z"], row["log_z_se"], row["root_ess"])
    assert (result.rollouts[0], result.reward_calls[0], result.nfe[0]) == (64, 64, 1024)
    assert found.ess == pytest.approx(row["ess"])
    assert any("Stopped by Ctrl-C" in note for note in result.notes)
    with pytest.raises(KeyError, match=r"method 'sadt' \(the run was stopped before it\)"):
        _ = run["sadt"]


def test_a_stage_run_is_read() -> None:
    run = read_run(FIXTURES / "stage")
    assert run.methods == ["greedy", "answer-vote", "dts", "sadt"]
    assert len(run.answers) == 8
    result = run["dts"]
    assert result.names() == ["har/windows/00000", "har/windows/00006"]
    for found, told in zip(result, [row for row in run.answers if row.method == "dts"], strict=True):
        assert found.samples.tolist() == [told.text]
        assert found.log_z == told.log_z
        assert found.problem.extras["label"] == told.label
        assert math.isnan(found.mean_reward())
    vote = run["answer-vote"]
    assert [found.ess for found in vote] == [2.0, 2.0]  # of two texts, of which one is kept
    np.testing.assert_array_equal(result.nfe, [46, 46])
    np.testing.assert_array_equal(result.rollouts, [2, 2])
    assert result.summary()["accuracy"] == 0.0
    assert result.summary()["without_weight"] == 2  # log Z is -inf: the reward asks for an answer, none gives one
    assert run.summary()[0] == run.rows[0]
    assert NO_WEIGHT in repr(result)
    assert run.to_frame()["text"].str.len().min() > 0
    assert "accuracy" in repr(run)
    with pytest.raises(ValueError, match="are texts"):
        result.quantiles([0.5])


def test_the_runs_of_a_sweep_are_read_by_their_names() -> None:
    runs = read_runs(FIXTURES / "sweep")
    assert [run.methods for run in runs.values()] == [["snis"], ["dts"]]
    trial = FIXTURES / "sweep" / "runs" / "synthetic-dts-n8-l50-w1-seed0"
    assert runs[trial.name].summary() == read_run(trial).summary()
    assert len(read_run(trial)["dts"]) == 1
    with pytest.raises(ValueError, match=r"is a sweep of several runs: give one of .*synthetic-dts.*read_runs"):
        read_run(FIXTURES / "sweep")


def test_a_trial_outside_the_sweep_is_not_followed(tmp_path: Path) -> None:
    trial = {"name": "t", "status": "complete", "run": "../elsewhere"}
    (tmp_path / "trials.json").write_text(json.dumps({"trials": [trial]}))
    with pytest.raises(ValueError, match=r"trials.json: the run of trial 't' is '../elsewhere', outside the sweep"):
        read_runs(tmp_path)


def test_a_degenerate_run_of_an_earlier_version_is_no_success(result: SampleResult, tmp_path: Path) -> None:
    """It recorded uniform weights and their effective size as if all were well."""
    run = result.save(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary["rows"][0] |= {"log_z": "-inf", "ess": 48.0}
    (run / "summary.json").write_text(json.dumps(summary))
    table = pq.read_table(run / "scores.parquet").to_pandas()
    table.loc[(table["metric"] == "log_z") & (table["problem"] == "a/0/left"), "value"] = -math.inf
    table.to_parquet(run / "scores.parquet")
    (row,) = read_run(run).summary()
    assert row["without_weight"] == 1
    assert row["log_z"] == -math.inf
    assert row["ess"] == result[1].ess / 2
    assert "without any weight" in repr(read_run(run))


def test_the_table_of_a_run_is_escaped(result: SampleResult, tmp_path: Path) -> None:
    run = result.save(tmp_path / "<script>")
    assert "script" not in Reader(read_run(run)._repr_html_()).tags


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("answers.jsonl", b"{}\n", "answers.jsonl holds a line that is not an answer"),
        ("answers.jsonl", None, "answers.jsonl is missing"),
        ("questions.jsonl", b'{"problem": "x"}\n', "questions.jsonl, line 1 lacks 'series': run the search again"),
        ("questions.jsonl", b"\xff\xfe\n", "questions.jsonl is not text"),
        ("summary.json", b'{"rows": [{"method"', "summary.json is not a JSON object"),
        ("summary.json", b'{"rows": 3}', "summary.json must hold 'rows'"),
        ("config.json", b"\xff", "config.json is not a JSON object"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_by_file(tmp_path: Path, name: str, content, message: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(FIXTURES / "stage", run)
    (run / name).unlink() if content is None else (run / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_run(run)


def test_settings_that_this_version_does_not_know_leave_the_name_alone(result: SampleResult, tmp_path: Path) -> None:
    run = result.save(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["methods"][0]["search"]["of_tomorrow"] = 1
    (run / "config.json").write_text(json.dumps(config))
    found = read_run(run)["dts"]
    assert found.method == found.method_name == "dts"
    assert found.summary() == result.summary()


def test_made_of_elements_of_another_result(result: SampleResult) -> None:
    again = SampleResult(**vars_of(result))
    assert all(isinstance(found, ProblemSamples) for found in again)
    assert again.summary() == result.summary()
