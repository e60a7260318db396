"""``python -m jobs.train WHAT``: train what a search needs. ``prior`` is diff-k, the diffusion prior of forecasts;
``flow`` is F_phi, learned from the trajectories of searches; ``tslm`` is a stand-in for OpenTSLM; ``verifier`` scores
the answers of a stage.

Examples:
    python -m jobs.train prior --data-file mine.csv --out mine.safetensors
    python -m jobs.train flow --buffer-path runs/recorded --out flow.safetensors
    python -m jobs.train tslm --stage 3
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import tyro
from rich.console import Console

from jobs.train_tslm import TrainTslmConfig, train_tslm
from jobs.train_verifier import TrainVerifierConfig, train_verifier
from jobs.training_bars import TrainingBars
from sadt_ray.training.flow import FlowSettings, train_flow
from sadt_ray.training.prior import PriorSettings, train_prior


def _prior(settings: PriorSettings, console: Console) -> None:
    with TrainingBars(console) as bars:
        trained = train_prior(None, settings, bars.show)
    size = (
        f"{trained.parameters:,} parameters, {trained.path.stat().st_size / 1e6:.1f} MB, {trained.minutes:.1f} minutes"
    )
    scores = ", ".join(f"{key} {value:.4f}" for key, value in trained.scores.items())
    console.print(f"{trained.path}: {size}; validation part: {scores}")


def _flow(settings: FlowSettings, console: Console) -> None:
    tell = partial(console.print, soft_wrap=True)
    with TrainingBars(console) as bars:
        trained = train_flow(settings, None, tell, bars.show)
    console.print(trained.describe())


def main() -> None:
    app = tyro.extras.SubcommandApp()
    console = Console()

    @app.command(name="prior")
    def prior(config: Annotated[PriorSettings, tyro.conf.arg(name="")]) -> None:
        """Train diff-k, the diffusion prior of forecasts."""
        _run(lambda: _prior(config, console), console)

    @app.command(name="flow")
    def flow(config: Annotated[FlowSettings, tyro.conf.arg(name="")]) -> None:
        """Train the flow F_phi on the trajectories of searches."""
        _run(lambda: _flow(config, console), console)

    @app.command(name="tslm")
    def tslm(config: Annotated[TrainTslmConfig, tyro.conf.arg(name="")]) -> None:
        """Train a stand-in for OpenTSLM: tiny, in its published format."""
        _run(lambda: train_tslm(config, console), console)

    @app.command(name="verifier")
    def verifier(config: Annotated[TrainVerifierConfig, tyro.conf.arg(name="")]) -> None:
        """Train the verifier of a stage's answers."""
        _run(lambda: train_verifier(config, console), console)

    app.cli(description=__doc__)


def _run(job: Callable[[], object], console: Console) -> None:
    """A user's mistake is one line and exit status 2, Ctrl-C is 130; anything else is a bug and keeps its traceback."""
    try:
        job()
    except (ValueError, FileNotFoundError, FloatingPointError, ImportError) as error:
        console.print(f"jobs.train: {error}", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        console.print("stopped; the same command with --resume continues")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
