"""How a stand-in is trained, judged, written and read."""

import json

import numpy as np
import pytest
import torch

from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.model.soft_prompt import embed_prompts
from sadt_ray.opentslm.stand_in import library
from sadt_ray.opentslm.stand_in.base_model import BOS, EOS, constant_lines, fit_tokenizer
from sadt_ray.opentslm.stand_in.early_claims import EarlyClaimsCorpus
from sadt_ray.opentslm.stand_in.fit import FitStandInConfig, _bare, answer_loss, draw_alike, fit_stand_in
from sadt_ray.opentslm.stand_in.fit import _target as target
from sadt_ray.opentslm.stand_in.judge import answer_in, judge, written
from sadt_ray.opentslm.stand_in.measured import patch_measurements, series_measurements
from sadt_ray.opentslm.stand_in.tsqa import TsqaCorpus

QUICK = FitStandInConfig(
    warm_up_steps=2, text_steps=12, joint_steps=2, batch=4, warm_up_batch=4, text_batch=8, tokenizer_texts=60, ramp=2
)


@pytest.fixture(scope="module")
def losses():
    return {}


@pytest.fixture(scope="module")
def model(losses):
    return fit_stand_in(
        EarlyClaimsCorpus(0), QUICK, 0, lambda phase, step, of, loss: losses.setdefault(phase, []).append(loss)
    )


@pytest.fixture(scope="module")
def tsqa():
    return TsqaCorpus(0).problems("test")


def test_the_loss_falls(model, losses):
    assert losses["texts"][-1] < 0.75 * losses["texts"][0]
    assert len(losses["encoder"]) == len(losses["joint"]) == 2


def test_the_same_seed_gives_the_same_weights(model):
    again = fit_stand_in(EarlyClaimsCorpus(0), QUICK, 0)
    for one, two in zip(model.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_a_batch_costs_what_its_questions_cost_alone(model, tsqa):
    """Questions of different length share a batch: padding must reach nobody."""
    some = list({p.extras["task"]: p for p in tsqa[:40]}.values())
    assert len({len(p.conditioning.pre) for p in some}) == 4
    tokens = [len(target(p, model.tokenizer, 1.0)[0]) - 1 for p in some]
    with torch.no_grad():
        alone = [answer_loss(model, [p]).item() for p in some]
        together = answer_loss(model, some).item()
    assert together == pytest.approx(np.average(alone, weights=tokens), rel=2e-2)


def test_the_loss_is_the_networks_own_log_likelihood(model):
    problem = EarlyClaimsCorpus(0).problems("test")[0]
    ids, _ = target(problem, model.tokenizer, 1.0)
    with torch.no_grad():
        asked = embed_prompts([problem.conditioning], model.network, model.tokenizer, model.encoder, model.projector)[0]
        rows = torch.cat([asked, model.network.get_input_embeddings()(ids)])[None]
        log_probs = model.network(inputs_embeds=rows).logits[0, len(asked) : -1].log_softmax(1)
        expected = -log_probs.gather(1, ids[1:, None]).mean().item()
        assert answer_loss(model, [problem]).item() == pytest.approx(expected, rel=2e-2)


def test_only_the_answers_tokens_weigh_more(model):
    problem = EarlyClaimsCorpus(0).problems("test")[0]
    ids, weights = target(problem, model.tokenizer, 5.0)
    heavy = model.tokenizer.decode(ids[weights > 1])
    assert heavy.strip() == problem.extras["label"]
    assert ids[0] == model.tokenizer.bos_token_id
    assert ids[-1] == model.tokenizer.eos_token_id


def test_a_greedy_text_is_the_argmax_step_by_step(model):
    """Written with a cache and other prompts beside it; checked without any of them."""
    problems = EarlyClaimsCorpus(0).problems("test")[:2] + TsqaCorpus(0).problems("test")[:1]
    texts, tokens = written(model, problems, 2, max_tokens=12, greedy=True)
    for problem, some in zip(problems, texts, strict=True):
        ids = list(model.forced)
        while len(ids) < 12 and ids[-1] != model.tokenizer.eos_token_id:
            rows = torch.cat(
                [model.embed(problem.conditioning), model.network.get_input_embeddings()(torch.tensor([ids]))], 1
            )
            with torch.no_grad():
                ids.append(int(model.network(inputs_embeds=rows).logits[0, -1].argmax()))
        assert some[0] == some[1] == model.tokenizer.decode(ids, skip_special_tokens=True)
        assert tokens[problems.index(problem), 0] == len(ids) - len(model.forced)


def test_a_stand_in_is_read_back_from_the_published_layout(model, tmp_path):
    folder = library.save_stand_in(model, tmp_path / "new" / "stand-in", {"stage": "early-claims", "seed": 0})
    read = load_opentslm(folder)
    problem = EarlyClaimsCorpus(0).problems("test")[0]
    torch.testing.assert_close(
        read.embed(problem.conditioning), model.embed(problem.conditioning), rtol=1e-5, atol=1e-5
    )
    assert read.forced == model.forced
    record = json.loads((folder / library.RECORD).read_text())
    assert "not OpenTSLM's weights" in record["what"]
    entries = torch.load(folder / "model_checkpoint.pt", weights_only=True)
    assert "optimizer_state" not in entries


def test_a_compact_stand_in_is_half_as_large_and_computes_almost_the_same(model, tmp_path):
    whole, half = (
        library.save_stand_in(model, tmp_path / str(compact), {}, compact=compact) for compact in (False, True)
    )
    sizes = [sum(file.stat().st_size for file in folder.rglob("*.[ps][ta]*")) for folder in (whole, half)]
    assert sizes[1] < 0.55 * sizes[0]
    prompt = EarlyClaimsCorpus(0).problems("test")[0].conditioning
    torch.testing.assert_close(load_opentslm(half).embed(prompt), model.embed(prompt), rtol=0.05, atol=0.01)


def test_answers_are_judged_against_the_labels(model):
    problems = EarlyClaimsCorpus(0).problems("test")[:6]
    found = judge(model, problems, draws=2, max_tokens=10)
    assert found.questions == 6
    assert 0 <= found.readable <= 1
    assert found.tokens <= 11
    assert answer_in(problems[0].extras["answer"], problems[0]) == problems[0].extras["label"]
    assert answer_in("nothing to see", problems[0]) is None


def test_batches_have_series_of_one_length():
    problems = draw_alike(TsqaCorpus(0), np.random.default_rng(0), 6)
    assert len({len(p.context) for p in problems}) == 1


def test_tokenizer_keeps_texts_and_knows_constant_lines(tsqa):
    lines = constant_lines([p.conditioning for p in tsqa])
    tokenizer = fit_tokenizer([p.extras["answer"] for p in tsqa], lines)
    assert len(tokenizer) < 620
    for problem in tsqa[:8]:
        ids = tokenizer(problem.conditioning.pre).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == problem.conditioning.pre
        assert len(ids) < 30
    assert tokenizer.convert_ids_to_tokens(tokenizer("a").input_ids)[0] == BOS
    assert tokenizer.eos_token == EOS


def test_measurements_are_what_they_are_called():
    series = torch.zeros(1, 32)
    series[0, 8:12] = torch.tensor([1.0, 2.0, 3.0, 2.0])
    patch = patch_measurements(series)
    assert patch.shape == (1, 8, 5)
    torch.testing.assert_close(patch[0, 2, [0, 3]], torch.tensor([2.0, 3.0]))
    assert patch[0, 2, 4] == pytest.approx(0.4)  # mean of five patches, of which one is not zero
    whole = series_measurements(torch.randn(3, 64))
    assert whole.shape == (3, 21)
    assert torch.isfinite(whole).all()


def test_a_cached_stand_in_is_found_and_not_trained_again(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(library._SETTINGS, "early-claims", QUICK)
    assert library.find_stand_in("early-claims", 3) is None
    made = library.find_or_train_stand_in("early-claims", 3)
    monkeypatch.setattr(library, "fit_stand_in", None)
    assert library.find_or_train_stand_in("early-claims", 3) == made
    assert made.is_relative_to(tmp_path)
    assert not [path for path in made.parent.iterdir() if path.name.endswith(".part")]


def test_held_out_questions_are_spread_over_all():
    every = library.held_out_problems(1, 0)
    some = library.held_out_problems("tsqa", 0, 48)
    assert [p.name for p in some] == [p.name for p in every[::10]]


def test_an_unknown_stage_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"har.*early-claims"):
        library.stand_in_name("ecgs")
    with pytest.raises(ValueError, match="choose one of"):
        library.stand_in_name(6)


def test_texts_alone_have_no_series_and_only_words_where_they_are_asked(tsqa):
    silent, asked = _bare(tsqa[0], False).conditioning, _bare(tsqa[0], True).conditioning
    assert silent.series == asked.series == ()
    assert (silent.pre, silent.post) == ("", "")
    assert (asked.pre, asked.post) == (tsqa[0].conditioning.pre, tsqa[0].conditioning.post)
