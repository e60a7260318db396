"""From flags to a task: the reward that is meant, the series that is meant."""

import signal

import pytest

from jobs.interrupt import InterruptGuard
from sadt_ray import forecasting
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.forecasting import build_reward, load_forecaster, load_series
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.second_opinion import SecondOpinionReward
from sadt_ray.rewards.spectral import SpectralReward

DATA = load_series("synthetic")
PRIOR = load_pretrained()
PROBLEMS = [DATA.problem("test", 0, "channel_0")]
CSV = "date,load\n" + "".join(f"2020-01-01 {i},{i % 24 + 0.1 * (i % 7)}\n" for i in range(2000))


@pytest.mark.parametrize(
    "spec", ["second-opinion", " second-opinion", "second-opinion + limit:max<1.5", "2*second-opinion"]
)
def test_the_second_opinion_tilts_by_the_same_nats_at_any_temperature(spec):
    def nats(lam):
        terms = build_reward(spec, 1.0, lam, DATA, PRIOR, PROBLEMS)[0].terms
        return [lam * weight for weight, reward in terms if isinstance(reward, SecondOpinionReward)]

    assert nats(50.0) == pytest.approx(nats(1.0))
    assert nats(1.0) == [2.0 if spec.startswith("2") else 1.0]


def test_the_spectral_reward_is_added_unless_its_weight_is_zero():
    def spectral_weights(weight):
        terms = build_reward("limit:max<1", weight, 50.0, DATA, PRIOR, PROBLEMS)[0].terms
        return [reward.spectral_weight for _, reward in terms if isinstance(reward, SpectralReward)]

    assert spectral_weights(2.0) == [2.0]
    assert spectral_weights(0.0) == []


def test_a_synthetic_series_stands_in_for_etth1_unless_that_was_asked_for_by_name(monkeypatch, capsys):
    def nowhere():
        raise DataNotFound("ETTh1 is nowhere")

    monkeypatch.setattr(forecasting, "load_etth1", nowhere)
    assert load_series(tell=print).name == "synthetic"
    assert "ETTh1 is nowhere" in capsys.readouterr().out
    for asked in ({"dataset": "ETTh1", "tell": print}, {}):
        with pytest.raises(DataNotFound, match="ETTh1 is nowhere"):
            load_series(**asked)


def test_a_file_is_called_after_itself_and_never_takes_another_series_prior(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    data = load_series(None, path)
    assert data.name == "mine"
    with pytest.raises(ValueError, match="no diff-k weights ship for the dataset 'mine'"):
        load_forecaster(data, "diff-k", None)


def test_a_prior_of_another_series_is_used_with_a_remark():
    _, notes = load_forecaster(load_series("synthetic"))
    assert "trained on ETTh1, the series is synthetic" in notes[0]


def test_the_first_interrupt_waits_for_a_safe_place_and_the_second_does_not():
    before = signal.getsignal(signal.SIGINT)
    with InterruptGuard() as guard:
        guard.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            guard.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_limit_comes_with_a_note_that_names_the_condition():
    notes = build_reward("2*limit:max<1.5", 0.0, 10.0, DATA, PRIOR, PROBLEMS)[2]
    assert len(notes) == 1
    assert '--given "max < ' in notes[0]
    assert build_reward("none", 0.0, 10.0, DATA, PRIOR, PROBLEMS)[2] == []
