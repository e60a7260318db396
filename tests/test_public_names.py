"""Each public name imports from where the documents say, and what moved is where the names of the house are."""

import importlib
import importlib.resources

import pytest

MOVED = {
    "sadt_ray.smc.sampler": ("ParticleSampler", "ParticleSystem"),
    "sadt_ray.smc.config": ("SMCConfig",),
    "sadt_ray.smc.genealogy": ("Genealogy",),
    "sadt_ray.smc.schedule": ("num_candidates_at", "split_position"),
    "sadt_ray.rollout.spec": ("RolloutFn", "RolloutFactory", "RolloutSpec"),
    "sadt_ray.rewards.terminal": ("evaluate_terminal", "TerminalValues"),
    "sadt_ray.engine.loop": ("run", "run_search", "SearchStats", "SearchResult", "Observer"),
    "sadt_ray.engine.serial": ("SerialExecutor",),
    "sadt_ray.engine.weight_sync": ("WeightSync",),
    "sadt_ray.flow.weight_source": ("WeightSource", "InterleavedLearner", "LearnerUpdate"),
    "sadt_ray.flow.learner": ("Learner", "LearnerSpec"),
    "sadt_ray.flow.buffer": ("TrajectoryBuffer",),
    "sadt_ray.training.fit": ("FlowFit", "learn_flow"),
    "sadt_ray.training.flow": ("train_flow",),
    "sadt_ray.training.prior": ("train_prior",),
    "sadt_ray.budget": ("fit_to_budget", "fitted"),
    "sadt_ray.session": ("Session", "FlowSource", "serial_session"),
    "sadt_ray.comparison": ("Comparison", "Task", "run_task"),
    "sadt_ray.forecasting": ("default_reward", "ForecastSettings", "load_series"),
    "sadt_ray.runs.read": ("read_run",),
    "sadt_ray.runs.results": ("SampleResult",),
    "sadt_ray.numerics.psd": ("welch", "log_psd"),
    "sadt_ray.numerics.logspace": ("effective_sample_size",),
    "sadt_ray.analysis.branching": ("branching_profile",),
    "sadt_ray.opentslm": ("StageSettings", "answer_questions"),
    "sadt_ray.opentslm.parse": ("parse_answer",),
    "sadt_ray.opentslm.rouge_bleu": ("rouge_l",),
    "sadt_ray.processes.language.prompt": ("Prompt",),
    "actors": ("ray_session",),
    "actors.session": ("WorkerSpec", "RaySession"),
    "actors.tree_owner": ("BatchPolicy", "TreeOwner"),
    "actors.tuning": ("Grid",),
}


@pytest.mark.parametrize(("module", "names"), MOVED.items(), ids=MOVED)
def test_what_moved_is_where_the_documents_say(module, names):
    found = importlib.import_module(module)
    assert [name for name in names if not hasattr(found, name)] == []


def test_processes_know_the_new_capabilities():
    walk = importlib.import_module("sadt_ray.processes.walk")
    assert hasattr(walk, "supports_guidance")
    denoiser = importlib.import_module("sadt_ray.processes.denoiser")
    assert hasattr(denoiser.DiffKDenoiser, "draft_denoised")


OLD_WORDS = ("harvest", "glance", "kinship", "endings", "affordable", "roller", "conduct")


@pytest.mark.parametrize("word", OLD_WORDS)
def test_no_module_is_called_by_an_old_word(word):
    import sadt_ray

    root = importlib.resources.files(sadt_ray)
    assert not [path for path in root.rglob("*.py") if word in path.stem]
