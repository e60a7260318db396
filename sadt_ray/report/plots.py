"""The figures of a report, one function per figure. Each function takes the run and returns a ``Figure``."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from sadt_ray.metrics import quantiles
from sadt_ray.report.spectra import period_ticks, psd, typical_psd_ratio
from sadt_ray.report.style import (
    HAIR,
    INK,
    SOFT,
    Label,
    explain,
    heading,
    label_ends,
    method_colours,
    method_name,
    new_figure,
    number,
    plain,
    small_multiples,
)
from sadt_ray.runs.files import WeightedSamples
from sadt_ray.runs.read import Run

WIDTH = 10.0
"""Width of all figures in inches, so that they line up on the page."""


def fan_chart(run: Run, problem: str) -> Figure:
    """The end of the history, the truth, and each method's weighted median and 50 % and 90 % bands."""
    methods = _methods_with(run, problem)
    colours = method_colours(run.methods)
    series = run.problems[problem]
    figure, panels = small_multiples(len(methods), 2, WIDTH, 1.9)
    for axes, method in zip(panels, methods, strict=True):
        samples = run.samples[method, problem]
        shown = series.context[-samples.values.shape[1] :]
        axes.plot(np.arange(-len(shown), 0), shown, color=SOFT, lw=0.9)
        _fan(axes, samples, colours[method])
        if series.truth is not None:
            axes.plot(np.arange(len(series.truth)), series.truth, color=INK, lw=1.1)
        axes.axvline(-0.5, color=HAIR, lw=0.8, zorder=0)
        axes.margins(x=0)
        heading(axes, method_name(method), colours[method], f"effective samples {samples.ess:.1f}")
    _label_fan(panels[0], series.truth)
    figure.supxlabel("time steps after the forecast starts", fontsize=8.5, color=SOFT)
    explain(
        figure,
        "Median and the 50 % and 90 % bands of the weighted samples; thin lines: the two samples of largest weight",
    )
    return figure


def _fan(axes: Axes, samples: WeightedSamples, colour: str) -> None:
    time = np.arange(samples.values.shape[1])
    q05, q25, q50, q75, q95 = quantiles(samples.values, [0.05, 0.25, 0.5, 0.75, 0.95], samples.weight)
    axes.fill_between(time, q05, q95, color=colour, alpha=0.16, lw=0)
    axes.fill_between(time, q25, q75, color=colour, alpha=0.28, lw=0)
    for row in [row for row in np.argsort(-samples.weight, kind="stable")[:2] if samples.weight[row] > 0]:
        axes.plot(time, samples.values[row], color=colour, lw=0.5, alpha=0.75)
    axes.plot(time, q50, color=colour, lw=1.6)


def _label_fan(axes: Axes, truth: np.ndarray | None) -> None:
    place: dict[str, Any] = {
        "xycoords": axes.get_xaxis_transform(),
        "textcoords": "offset points",
        "va": "bottom",
        "fontsize": 8,
    }
    axes.annotate("history", (-0.5, 0.0), (-5, 1), ha="right", color=SOFT, **place)
    axes.annotate("forecast" if truth is None else "truth, uncoloured", (-0.5, 0.0), (5, 1), color=INK, **place)


def psd_chart(run: Run, problem: str) -> Figure:
    """Spectra of each method's samples (median and 10-90 % band), and the spectrum of the history."""
    methods = _methods_with(run, problem)
    colours = method_colours(run.methods)
    rows = -(-len(methods) // 4)
    figure, panels = small_multiples(len(methods), -(-len(methods) // rows), WIDTH, 2.3)
    frequency, of_history = psd(run.problems[problem].context)
    for axes, method in zip(panels, methods, strict=True):
        samples = run.samples[method, problem]
        low, middle, high = quantiles(psd(samples.values)[1], [0.1, 0.5, 0.9], samples.weight)
        axes.fill_between(frequency, low, high, color=colours[method], alpha=0.22, lw=0)
        axes.plot(frequency, of_history, color=INK, lw=1.0)
        axes.plot(frequency, middle, color=colours[method], lw=1.6)
        axes.set(xscale="log", yscale="log")
        axes.yaxis.set_minor_locator(NullLocator())
        heading(axes, method_name(method), colours[method])
        _frequency_axis(axes, frequency)
    panels[0].set_ylabel("power per cycle per sample")
    figure.supxlabel("cycles per sample; in brackets the period in samples, hours for hourly data", **_quiet())
    explain(figure, "Welch spectra: median and 10-90 % band of the weighted samples; uncoloured: the history")
    return figure


def psd_ratio_chart(run: Run) -> Figure:
    """Ratio of each method's typical spectrum to that of the history, over all problems; 1 is a perfect match."""
    colours = method_colours(run.methods)
    figure = new_figure(WIDTH, 3.3)
    axes = plain(figure.subplots())
    ends = []
    for method in run.methods:
        frequency, ratio = typical_psd_ratio(run, method)
        axes.plot(frequency, ratio, color=colours[method], lw=1.8)
        ends.append(Label(float(ratio[-1]), method_name(method), colours[method]))
    axes.axhline(1.0, color=INK, lw=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", ylabel="power, samples / history")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.45), max(high, 2.2))
    _frequency_axis(axes, frequency)
    figure.supxlabel("cycles per sample; in brackets the period in samples, hours for hourly data", **_quiet())
    explain(figure, "Each sample's spectrum over its history's: the weighted median over samples and problems")
    figure.draw_without_rendering()
    label_ends(axes, ends, frequency[-1])
    return figure


def reward_histogram(run: Run) -> Figure:
    """The weighted distribution of the reward under each method, one row per method, with equal weight per problem."""
    methods, colours = run.methods, method_colours(run.methods)
    pooled = {method: _pooled_rewards(run, method) for method in methods}
    edges = _reward_edges([reward for reward, _ in pooled.values()])
    figure, panels = small_multiples(len(methods), 1, WIDTH, 0.95)
    for axes, method in zip(panels, methods, strict=True):
        reward, weight = pooled[method]
        height, _ = np.histogram(np.clip(reward, edges[0], edges[-1]), edges, weights=weight)
        axes.stairs(height / max(height.max(), 1e-300), edges, fill=True, color=colours[method], alpha=0.55, lw=0)
        finite = np.isfinite(reward)
        mean = float(np.average(reward[finite], weights=weight[finite])) if weight[finite].sum() > 0 else np.nan
        axes.plot([mean, mean], [0, 1.04], color=INK, lw=1.2)
        heading(axes, method_name(method), colours[method], f"weighted mean {number(mean)}")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(0, 1.08)
    panels[-1].set_xlabel("reward")
    explain(figure, "Share of a method's weight at a reward, each row scaled to its own peak; upright: weighted mean")
    return figure


def _pooled_rewards(run: Run, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and weights of all problems; the weights sum to 1."""
    parts = run.samples_of(method)
    return np.concatenate([p.reward for p in parts]), np.concatenate([p.weight for p in parts]) / len(parts)


def _reward_edges(rewards: list[np.ndarray], bins: int = 60) -> np.ndarray:
    """Bins over all rewards but the lowest 0.5 %, which fall into the first bin."""
    finite = np.concatenate([reward[np.isfinite(reward)] for reward in rewards])
    if not finite.size:
        return np.linspace(-1.0, 1.0, bins + 1)
    low, high = np.quantile(finite, 0.005), finite.max()
    return np.linspace(low, high if high > low else low + 1.0, bins + 1)


def reward_cost_chart(run: Run) -> Figure:
    """The weighted mean and the best reward of the samples so far, against function evaluations."""
    colours = method_colours(run.methods)
    figure = new_figure(WIDTH, 3.4)
    panels = [plain(axes) for axes in figure.subplots(1, 2, sharex=True, sharey=True)]
    ends: tuple[list[Label], list[Label]] = ([], [])
    last = 1.0
    for method in run.methods:
        nfe, curves = reward_curves(run.samples_of(method))
        last = max(last, float(nfe[-1]))
        for axes, curve, labels in zip(panels, curves, ends, strict=True):
            axes.plot(nfe, curve, color=colours[method], lw=1.6, drawstyle="steps-post")
            labels.append(Label(float(curve[-1]), method_name(method), colours[method]))
    for axes, title in zip(panels, ("weighted mean", "best so far"), strict=True):
        heading(axes, title, INK)
        axes.set(xscale="log", xlabel="function evaluations per problem")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda nfe, _: f"{nfe:,.0f}"))
        axes.tick_params(labelleft=True)
    panels[0].set_ylabel("reward")
    explain(figure, "Mean over problems; final weights, renormalised over the samples that had come in")
    figure.draw_without_rendering()
    for axes, labels in zip(panels, ends, strict=True):
        label_ends(axes, [label for label in labels if np.isfinite(label.y)], last)
    return figure


def reward_curves(parts: list[WeightedSamples], points: int = 240) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Mean over problems of the weighted mean and of the best reward so far, on one grid of function evaluations."""
    start, stop = max(p.nfe_at[0] for p in parts), max(p.nfe_at[-1] for p in parts)
    grid = np.geomspace(max(start, 1), max(stop, start, 1), points)
    grid[-1] = max(stop, start, 1)  # exactly the end: a rounding error below would lose the last sample
    running = [_running_rewards(p) for p in parts]
    at = [np.clip(np.searchsorted(p.nfe_at, grid, side="right") - 1, 0, None) for p in parts]
    means, bests = (np.mean([pair[k][rows] for pair, rows in zip(running, at, strict=True)], axis=0) for k in (0, 1))
    return grid, (means, bests)


def _running_rewards(samples: WeightedSamples) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and best of the first m samples, m = 1 .. M.

    If all weight is on the best sample, as in best-of-N, the mean at m is the best of the first m.
    """
    reward = np.where(np.isfinite(samples.reward), samples.reward, np.nan)
    best = np.fmax.accumulate(reward)
    if samples.weight.max() > 1 - 1e-9:
        return best, best
    known = np.isfinite(reward)
    weight = np.cumsum(np.where(known, samples.weight, 0.0))
    total = np.cumsum(np.where(known, samples.weight * np.nan_to_num(reward), 0.0))
    return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0), best


def progress_chart(run: Run) -> Figure | None:
    """Mean reward during the run against wall-clock time; None if the run has no metrics."""
    known = [line for line in run.progress if line.get("mean_reward") is not None]
    methods = [method for method in run.methods if any(line.get("method") == method for line in known)]
    if not methods:
        return None
    colours = method_colours(run.methods)
    figure = new_figure(WIDTH, 2.9)
    axes = plain(figure.subplots())
    ends, last = [], 0.0
    for method in methods:
        lines = [line for line in known if line.get("method") == method]
        seconds, reward = ([line[key] for line in lines] for key in ("seconds", "mean_reward"))
        axes.plot(seconds, reward, color=colours[method], lw=1.6, marker="o", ms=2.5)
        rates = [line["rollouts_per_second"] for line in lines if line.get("rollouts_per_second") is not None]
        rate_text = f", {np.median(rates):,.0f} rollouts/s" if rates else ""
        ends.append(Label(reward[-1], method_name(method) + rate_text, colours[method]))
        last = max(last, seconds[-1])
    axes.set(xlabel="seconds", ylabel="mean reward")
    explain(figure, "Unweighted mean reward of all samples so far while the method ran; rate: median")
    figure.draw_without_rendering()
    label_ends(axes, ends, last)
    return figure


def _methods_with(run: Run, problem: str) -> list[str]:
    return [method for method in run.methods if (method, problem) in run.samples]


def _quiet() -> dict:
    return {"fontsize": 8.5, "color": SOFT}


def _frequency_axis(axes: Axes, frequency: np.ndarray) -> None:
    ticks, names = period_ticks(frequency)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(names)
    axes.grid(axis="x", color=HAIR, lw=0.6)
