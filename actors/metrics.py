"""Metrics of a search in Ray: gauges ``ray_sadt_…`` with the method as a tag."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge

from sadt_ray.engine.loop import SearchStats
from sadt_ray.tree.search import Search

_DESCRIPTIONS = {
    "simulations": "Simulations backed up.",
    "simulations_per_second": "Simulations backed up per second.",
    "nfe": "Function evaluations of the process.",
    "nfe_per_second": "Function evaluations per second.",
    "mean_reward": "Mean reward of the samples so far, unweighted.",
    "best_reward": "Highest reward so far.",
    "nodes": "Nodes of the forest.",
    "in_flight": "Tickets asked, but neither told nor forgotten.",
    "set_aside": "Tickets given up after three failures.",
    "workers": "Rollout workers that take part.",
    "utilisation": "Share of the workers' time spent in rollouts.",
    "queue_depth": "Batches that wait for a worker.",
    "batch_size": "Tickets per call.",
    "batch_fill": "Tickets per call, divided by the batch size.",
    "staleness": "Tickets that finished between the submission and the return of a batch.",
    "weights_version": "Version of the flow that new batches use.",
    "weights_behind": "Versions between the flow of a batch and the newest flow at its return.",
    "weights_lag": "Seconds for which a newer flow had been in use when a batch returned.",
    "longest_weights_lag": "Largest weights_lag so far.",
    "learner_steps": "Training steps of the learner.",
    "learner_validation": "Loss of the learner's last validation.",
    "learner_base": "Loss of the look-ahead base in the same validation.",
    "learner_nfe": "Cost of features and training, in function evaluations.",
    "learner_age": "Seconds since the learner's last answer.",
    "lost_batches": "Batches lost with a worker or by an error in a rollout.",
}


class Meters:
    """An observer that shows each figure of a search as a gauge of Ray."""

    def __init__(self, method: str) -> None:
        self._tags = {"method": method}
        self._shown: Mapping[str, float] = {}
        self._gauges = {
            name: Gauge(f"sadt_{name}", description=text, tag_keys=("method",)) for name, text in _DESCRIPTIONS.items()
        }

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Set the gauges whenever the search has new figures."""
        if stats.gauges is self._shown:
            return
        self._shown, figures = stats.gauges, stats.figures()
        for name in self._gauges.keys() & figures.keys():
            self._gauges[name].set(figures[name], self._tags)
