"""The learner beside the search: an actor that trains all the time, and a tree owner that asks it in passing."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ray
import torch
from ray.exceptions import RayError

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import Learner, LearnerSpec
from sadt_ray.flow.weight_source import LearnerUpdate

_ASK_EVERY = 0.25  # seconds
_ASK_AGAIN = 2.0  # seconds, after a learner that did not answer
_PAUSE = 0.2  # seconds without anything to learn
_NICE = 10  # it takes what workers leave over, where it has no CPU of its own
_ERRORS = 5  # in a row, after which it is given up


class LearnerActor:
    """What Ray runs: a learner in a thread of its own, so that it answers while it trains, or while it loads.

    One that was killed and started anew begins at the first call, and goes on from its checkpoint.
    """

    def __init__(self) -> None:
        self._learner: Learner | None = None
        self._error = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def latest(self, replica: Sequence[Any], learning: LearnerSpec, known: int) -> LearnerUpdate:
        """At once, whatever the learner is at; at the first call it begins.

        Args:
            replica: process, reward and problems, as workers have them.
            learning: what else there is to know.
            known: the version that the caller has, -1 for none.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._learn, args=(replica, learning), daemon=True)
            self._thread.start()
        return self._update(known)

    def finish(self, replica: Sequence[Any], learning: LearnerSpec) -> LearnerUpdate:
        """End the training, and publish what there is."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._learner is None:  # it has died, or was never asked for anything
            self._learner = learning.begin(*ray.get(replica[0]))
        self._learner.finish()
        return self._update(-1)

    def _update(self, known: int) -> LearnerUpdate:
        learner = self._learner
        if learner is None:
            return LearnerUpdate(None, {}, 0.0, self._error)
        learner.outdo(known)
        flow, age = learner.latest, time.monotonic() - learner.published_at
        return LearnerUpdate(
            flow if flow is not None and flow.version > known else None, learner.figures, age, self._error
        )

    def _learn(self, replica: Sequence[Any], learning: LearnerSpec) -> None:
        torch.set_num_threads(1)
        errors = 0
        while not self._stop.is_set() and errors < _ERRORS:
            try:
                if self._learner is None:
                    self._learner = learning.begin(*ray.get(replica[0]))
                    os.nice(0 if learning.cpus else _NICE)  # of this thread
                if not self._learner.work():
                    self._stop.wait(_PAUSE)
                errors = 0
            except Exception:
                errors += 1
                self._error = traceback.format_exc(limit=-1).strip().splitlines()[-1]
                self._stop.wait(_ASK_AGAIN)


class RemoteLearner(NamedTuple):
    """A learner as whoever asks it holds it: what it must know rides along, so that it may die and be made anew."""

    actor: Any
    replica: Sequence[Any]
    learning: LearnerSpec

    def latest(self, known: int) -> Any:
        """A reply that holds a ``LearnerUpdate``."""
        return self.actor.latest.remote(self.replica, self.learning, known)

    def finish(self) -> Any:
        """A reply that holds the last one."""
        return self.actor.finish.remote(self.replica, self.learning)


class RemoteWeightSource:
    """A ``WeightSource`` over a ``LearnerActor``: it is asked now and then, and nobody waits for the answer.

    A learner that is dead does not answer, is made anew by Ray, and is asked again.

    Args:
        learner: whom to ask.
        known: version of the weights that the search begins with, -1 for none.
    """

    def __init__(self, learner: RemoteLearner, known: int = -1) -> None:
        self._learner, self._known, self._ask_at = learner, known, 0.0
        self._reply: Any = None
        self._update, self._heard, self._losses = LearnerUpdate(None, {}, 0.0, ""), time.monotonic(), 0

    def newer_weights(self) -> Flow | None:
        if self._reply is None:
            if time.monotonic() >= self._ask_at:
                self._reply = self._learner.latest(self._known)
            return None
        if not ray.wait([self._reply], timeout=0)[0]:
            return None
        reply, self._reply = self._reply, None
        try:
            self._update = ray.get(reply)
        except RayError:
            self._losses += 1
            self._update = LearnerUpdate(None, {}, 0.0, "")
            self._ask_at = time.monotonic() + _ASK_AGAIN
            return None
        self._heard = time.monotonic()
        self._ask_at = self._heard + _ASK_EVERY
        flow = self._update.flow
        if flow is not None:
            self._known = flow.version
        return flow

    def figures(self) -> Mapping[str, float]:
        """The learner's, as it told them last; ``learner_age``: seconds ago; ``learner_losses``: answers lost."""
        age = time.monotonic() - self._heard
        return {**self._update.figures, "learner_age": age, "learner_losses": float(self._losses)}


def start_learner(replica: Sequence[Any], learning: LearnerSpec, **options: Any) -> RemoteLearner:
    """Ask Ray for a learner, with ``options`` such as where it lives. It need not be up yet."""
    actor = ray.remote(LearnerActor).options(
        **{"num_cpus": learning.cpus, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 2, **options}
    )
    return RemoteLearner(actor.remote(), replica, learning)
