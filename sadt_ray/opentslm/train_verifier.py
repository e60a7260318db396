"""Train the verifier of a stage on labelled questions that its model has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sadt_ray.opentslm.pilot import run_pilot
from sadt_ray.opentslm.rewards.answer_verifier import fit_answer_verifier
from sadt_ray.opentslm.rewards.templates import save_templates
from sadt_ray.opentslm.rewards.verifier import Verifier
from sadt_ray.opentslm.rewards.verifier_file import TEMPLATES, VERIFIER, save_verifier
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.setup import set_up_stage
from sadt_ray.opentslm.stage_reward import fit_templates


def train_stage_verifier(
    settings: StageSettings, out: Path, folds: int = 4, tell: Callable[[str], None] = print, device: str = "cpu"
) -> Verifier:
    """Draw rationales, fit templates and a verifier, and write both to a directory.

    ``StageSettings(verifier=out, reward="verifier + -1*agreement")`` then searches under it.

    Args:
        settings: the stage, its model, the labelled questions, and the number of rationales per question: as many as
            the pilot of a search will draw. Their reward and their methods do not matter.
        out: the directory; made if it does not exist.
        folds: of sources, for the cross-fit.
        tell: receives messages for the user.
        device: of the model.

    Raises:
        ValueError, OSError: if the model or the questions cannot be had, a question has no label, or there are fewer
            sources than folds.
    """
    setup = set_up_stage(settings, tell, device)
    problems, stage = setup.questions.asked, settings.spec.number
    templates = fit_templates(stage, setup.questions.training(), problems)
    tell(f"Drawing {settings.n_rollouts} rationales for each of {len(problems)} questions.")
    pilot = run_pilot(setup.process, problems, settings.n_rollouts, settings.seed)
    facts = {"stage": stage, "rationales": settings.n_rollouts, "checkpoint": str(settings.checkpoint)}
    verifier = fit_answer_verifier(problems, pilot.marginals, templates, folds, seed=settings.seed, facts=facts)
    out.mkdir(parents=True, exist_ok=True)
    save_templates(templates, out / TEMPLATES)
    save_verifier(verifier, out / VERIFIER)
    return verifier
