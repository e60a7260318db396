"""Keys of ``bench.json`` are followed over time: they stay, whatever the code calls things today."""

from types import SimpleNamespace

import numpy as np

from benchmarks import amortise, exact, joint, parallel, values
from benchmarks.posterior.claims import CLAIMED
from benchmarks.posterior.columns import PosteriorQuality
from benchmarks.posterior.comparison import Entrant, Entry
from benchmarks.posterior.gold import GoldConfig
from benchmarks.posterior.pairs import FRACTIONS, RIVALS, SUFFIX, pair_names
from sadt_ray.methods import Method, snis

AMORTISE = [
    "prior", "best_of_n", "snis", "dts", "dts_late", "dts_star", "fk", "tds", "dps", "smc", "smc_10x", "sadt_tree_10x",
    "sweep_10x_no_flow", "sweep_10x_no_candidates", "sadt_10x", "sadt_20x",
]  # fmt: skip
JOINT = ["prior", "best_of_n", "snis", "dts", "fk", "smc", "sadt", "sadt_lean"]


def unsized(make, max_nfe, *rest):
    """A method for a fixed number of rollouts: no trial is run."""
    method = make(64)
    assert isinstance(method, Method)
    return method


def test_entrants_of_amortise(monkeypatch):
    monkeypatch.setattr(amortise, "fit_to_budget", unsized)
    process = SimpleNamespace(sampler=SimpleNamespace(num_steps=16))
    task = amortise.Task(process, None, [None])
    found = amortise.entrants(task, 50.0, flow=None, rollouts=500)
    assert [one.key for one in found] == AMORTISE
    assert found[AMORTISE.index("sweep_10x_no_candidates")].method.smc.num_candidates == 1
    assert found[AMORTISE.index("smc")].method.smc.particles == 64


def test_entrants_of_joint(monkeypatch):
    monkeypatch.setattr(joint, "fit_to_budget", unsized)
    task = SimpleNamespace(process=None, problems=[None], coupling=None)
    found = joint._entrants(task, 1_600)
    assert [one.key for one in found] == JOINT
    assert [one.key for one in joint._few(found)] == ["prior", "snis", "smc", "sadt_lean"]
    assert [found[JOINT.index(key)].method.smc.guidance_scale for key in ("sadt", "sadt_lean")] == [0.5, 1.0]


def test_columns_and_prices_of_amortise():
    quality = PosteriorQuality(*np.zeros(9))
    keys = [*RIVALS.values(), *FRACTIONS.values()]
    entries = {key: Entry(Entrant(key, key, snis()), [[quality]], nfe=1.0) for key in keys}
    assert {key.removesuffix("_dts") for key in amortise._means({"dts": entries["dts"]})} == {
        "bias", "abs_log_z_error", "edp", "ed", "crps", "nfe", "seconds",
    }  # fmt: skip
    learned = SimpleNamespace(nfe=3.0, search_nfe=2, seconds=1.0)
    assert amortise._price(learned, entries) == {
        "training_nfe": 3.0, "harvest_nfe": 2.0, "training_seconds": 1.0, "break_even_contexts": np.inf,
    }  # fmt: skip


def test_pairs_of_amortise():
    rivals = ["dts", "late", "snis", "fk", "smc"]
    names = [*(f"{fraction}_{rival}" for fraction in ("10x", "20x") for rival in rivals), "equal_smc"]
    assert pair_names() == [*names, *(f"{name}_lam10" for name in names)]
    assert SUFFIX == {50.0: "", 10.0: "_lam10"}


def test_methods_of_exact_and_parallel():
    assert [*exact._METHODS] == [
        "best_of_n", "snis", "dts", "dts_03", "dts_star", "late", "late_03", "dts_late", "counts",
    ]  # fmt: skip
    assert [*exact._COLUMNS] == ["tv", "log_z_error", "value_bias", "mmd"]
    assert [*parallel._METHODS] == ["dts", "dts_late", "dts_star"]
    assert [*parallel._COLUMNS] == ["tv", "log_z_error", "value_bias", "reward", "best"]
    keys = {case.key for case in parallel._cases(512)}
    assert {"dts_k1", "dts_virtual_loss_k8", "equal_time_dts_star_k32", "equal_time_dts_late_virtual_loss_k128"} <= keys
    assert "dts_virtual_loss_k1" not in keys


def test_values_names_its_losses_as_ever():
    assert [*values._LOSSES] == [
        "default", "tb", "tb-var", "subtb-0.9", "0.1 tb-var + db", "linex, averaged target", "averaged target",
        "bias of 8 siblings left", "frequencies apart",
    ]  # fmt: skip
    quality, log_z = {"corr": 1.0, "rmse": 2.0, "bias": 3.0}, {"rms of log Z": 4.0, "guided": 5.0}
    for name, end in (
        ("r(x0_hat)", "_clean"), ("r~", "_debiased"), ("F, default", ""),
        ("F, linex, averaged target", "_linex_averaged_target"),
    ):  # fmt: skip
        assert values._figures(name, quality, log_z) == {
            f"corr_d8{end}": 1.0, f"rmse_d8{end}": 2.0, f"log_z_rms{end}": 4.0, f"log_z_rms_lean{end}": 5.0,
        }  # fmt: skip


def test_claims_are_of_the_same_rows():
    assert [*CLAIMED] == ["base", "dps", "smc", "dts", "sadt"]


def test_the_gold_is_found_in_the_cache_under_the_settings_it_was_made_with():
    """The name of a gold file, and its seed, depend on this text: another one means other numbers."""
    assert repr(GoldConfig()) == (
        "GoldConfig(annealing=AnnealingConfig(chains=1024, sweeps=96, final_sweeps=256, ess=0.5, acceptance=0.25), "
        "surrogate=True, blocks=(0,), evaluated_sweeps=6, kept=1024)"
    )
