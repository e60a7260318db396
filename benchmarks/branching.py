"""Where along the chain is the reward decided, and where should the tree branch?"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Float

from benchmarks import BenchResult
from sadt_ray.analysis.branching import BranchingProfile, branching_profile
from sadt_ray.data.etth1 import load_etth1
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward

QUESTION = "Which denoising steps decide the spectral reward, and do the presets branch there?"
LAM = 50.0
_PRESETS = ("published", "late")


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    data = load_etth1()
    available = len(data.window_starts("val", 48))
    windows = [int((i + 0.5) * available / count) for count in [2 if quick else 4] for i in range(count)]
    problems = [data.problem("val", window, channel) for window in windows for channel in data.columns]
    process = load_pretrained("diff-k", "ETTh1", branch_steps="every")
    parents, siblings, completions = (4, 4, 16) if quick else (8, 4, 64)
    profile = branching_profile(process, problems, SpectralReward(), LAM, parents, siblings, completions)
    nodes = {name: process.with_branch_steps(name).branch_steps for name in _PRESETS}
    sigmas, cumulative = process.sampler.sigmas, np.cumsum(profile.share)
    rows: list[dict[str, object]] = [
        {
            "level": level,
            "step": step,
            "sigma": float(sigmas[step]),
            "share": float(profile.share[level - 1]),
            "se": float(profile.share_se[level - 1]),
            "cumulative": float(cumulative[level - 1]),
            "tilt": float(profile.tilt[level - 1]),
            "1st order": float(LAM * np.sqrt(max(profile.variance[level - 1].mean(), 0.0))),
            "nodes": " ".join(name for name in _PRESETS if step in nodes[name]),
        }
        for level, step in enumerate(process.branch_steps, start=1)
    ]
    notes = (
        f"ETTh1 validation windows {', '.join(map(str, windows))}, {len(problems)} contexts, lambda = {LAM:g}. Nested "
        f"simulation: {parents} parents per context and level, {siblings} siblings each, {completions} completions "
        f"each, {profile.nfe / 1e6:.1f}M NFE. Standard deviation of r within a context: {np.sqrt(profile.total):.3f}.",
        "share: of the variance of r decided by the step to this level, unbiased (analysis of variance); se "
        f"over contexts. tilt: standard deviation among siblings of lambda V in nats, V from {completions // 2} "
        "completions; 1st order: the same of lambda times the expected reward.",
        *(_segments(name, nodes[name], cumulative) for name in _PRESETS),
    )
    return BenchResult(rows, _figures(process, profile, nodes), notes)


def _segments(name: str, steps: tuple[int, ...], cumulative: Float[np.ndarray, " L"]) -> str:
    """What each choice of a preset's tree decides; step s is level s + 1 of ``every``."""
    bounds = np.concatenate([[0.0], cumulative[list(steps)]])
    parts = ", ".join(
        f"{b - a:.0%} up to step {step}" for (a, b), step in zip(itertools.pairwise(bounds), steps, strict=True)
    )
    return f"{name} decides {parts}."


def _figures(
    process: DiffusionProcess, profile: BranchingProfile, nodes: dict[str, tuple[int, ...]]
) -> dict[str, float]:
    """Shares decided before a preset's first node, among the children of its nodes, and in the last step to x_0."""
    cumulative = np.cumsum(profile.share)
    figures = {"reward_sd": float(np.sqrt(profile.total)), "nfe": float(profile.nfe)}
    for name, steps in nodes.items():
        figures[f"share_{name}_first"] = float(cumulative[steps[0]])
        figures[f"share_{name}"] = float(1 - cumulative[steps[0]])
        figures[f"share_{name}_last"] = float(1 - cumulative[steps[-2]])
    for quantile in (0.25, 0.5, 0.75):
        step = int(np.searchsorted(cumulative, quantile))
        figures[f"sigma_at_{quantile:.0%}".replace("%", "")] = float(process.sampler.sigmas[step])
    strongest = int(np.argmax(profile.tilt))
    return figures | {"tilt_max": float(profile.tilt[strongest]), "tilt_max_step": float(strongest)}
