"""What Ray's metrics show of a search, as ``ray_sadt_…`` with the method as a tag."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge

from sadt_ray.engine.loop import SearchStats
from sadt_ray.tree.search import Search

_DESCRIPTIONS = {
    "simulations": "Simulations backed up.",
    "simulations_per_second": "Simulations backed up a second.",
    "nfe": "Function evaluations of the process.",
    "nfe_per_second": "Function evaluations a second.",
    "mean_reward": "Mean reward of the samples so far, unweighted.",
    "best_reward": "Highest reward so far.",
    "nodes": "Nodes of the forest.",
    "in_flight": "Tickets asked, neither told nor forgotten.",
    "set_aside": "Tickets given up after three failures.",
    "workers": "Rollout workers that take part.",
    "utilisation": "Share of the workers' time spent in rollouts.",
    "queue_depth": "Batches that wait for a worker.",
    "batch_size": "Tickets a call.",
    "batch_fill": "Tickets a call over the batch size.",
    "staleness": "Tickets that came back between a batch's submission and its return.",
    "weights_version": "Version of the flow that batches are sent with.",
    "weights_behind": "Versions between the flow of a batch and the newest when it came back.",
    "weights_lag": "Seconds for which a newer flow had been in use when a batch came back.",
    "longest_weights_lag": "The longest of these.",
    "learner_steps": "Training steps of the learner.",
    "learner_validation": "Loss of its last validation.",
    "learner_base": "The same of the look-ahead that the flow began with.",
    "learner_nfe": "Evaluations of the process that features and training are worth.",
    "learner_age": "Seconds since the learner was last heard of.",
    "lost_batches": "Batches lost with a worker or by an error in a rollout.",
}


class Meters:
    """An observer that shows each figure of a search as a gauge of Ray's."""

    def __init__(self, method: str) -> None:
        self._tags = {"method": method}
        self._shown: Mapping[str, float] = {}
        self._gauges = {
            name: Gauge(f"sadt_{name}", description=text, tag_keys=("method",)) for name, text in _DESCRIPTIONS.items()
        }

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Set every gauge that there is a figure for, whenever the search's gauges were renewed."""
        if stats.gauges is self._shown:
            return
        self._shown, figures = stats.gauges, stats.figures()
        for name in self._gauges.keys() & figures.keys():
            self._gauges[name].set(figures[name], self._tags)
