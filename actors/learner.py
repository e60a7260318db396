"""The learner beside a search: an actor that trains, and a weight source that polls it."""

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

_ASK_EVERY = 0.25  # seconds between two requests
_ASK_AGAIN = 2.0  # seconds before the next request or attempt, after an error
_PAUSE = 0.2  # seconds to wait if there is nothing to learn
_NICE = 10  # niceness of a learner without its own CPU, so that it uses idle time
_MAX_ERRORS = 5  # the learner gives up after this many errors in a row


class LearnerActor:
    """The actor: a learner in its own thread, so that the actor answers while the learner trains or loads.

    The learner starts at the first call. After a restart of the actor it resumes from its checkpoint.
    """

    def __init__(self) -> None:
        self._learner: Learner | None = None
        self._error = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def latest(self, replica: Sequence[Any], learning: LearnerSpec, known: int) -> LearnerUpdate:
        """Return the newest weights at once. The first call starts the learner.

        Args:
            replica: process, reward and problems, as for workers.
            learning: recipe of the learner.
            known: version of the caller's weights, -1 for none.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, args=(replica, learning), daemon=True)
            self._thread.start()
        return self._update(known)

    def finish(self, replica: Sequence[Any], learning: LearnerSpec) -> LearnerUpdate:
        """End the training, and return the last weights."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._learner is None:  # the actor was restarted, or this is its first call
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

    def _train(self, replica: Sequence[Any], learning: LearnerSpec) -> None:
        torch.set_num_threads(1)
        errors = 0
        while not self._stop.is_set() and errors < _MAX_ERRORS:
            try:
                if self._learner is None:
                    self._learner = learning.begin(*ray.get(replica[0]))
                    os.nice(0 if learning.cpus else _NICE)  # for this thread
                if not self._learner.work():
                    self._stop.wait(_PAUSE)
                errors = 0
            except Exception:
                errors += 1
                self._error = traceback.format_exc(limit=-1).strip().splitlines()[-1]
                self._stop.wait(_ASK_AGAIN)


class RemoteLearner(NamedTuple):
    """A handle of a ``LearnerActor``. Every call carries the learner's inputs, so a restarted actor can continue."""

    actor: Any
    replica: Sequence[Any]
    learning: LearnerSpec

    def latest(self, known: int) -> Any:
        """Ask for newer weights. Returns a reference to a ``LearnerUpdate``."""
        return self.actor.latest.remote(self.replica, self.learning, known)

    def finish(self) -> Any:
        """End the training. Returns a reference to the last ``LearnerUpdate``."""
        return self.actor.finish.remote(self.replica, self.learning)


class RemoteWeightSource:
    """A ``WeightSource`` over a ``LearnerActor``. It asks for weights at intervals and never waits for the answer.

    If the actor dies, Ray restarts it, and the request is repeated.

    Args:
        learner: handle of the actor.
        known: version of the search's first weights, -1 for none.
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
        """Last figures of the learner, their age in seconds (``learner_age``) and lost answers (``learner_losses``)."""
        age = time.monotonic() - self._heard
        return {**self._update.figures, "learner_age": age, "learner_losses": float(self._losses)}


def start_learner(replica: Sequence[Any], learning: LearnerSpec, **options: Any) -> RemoteLearner:
    """Start a learner actor, with ``options`` of Ray such as its placement. Returns before the actor is up."""
    actor = ray.remote(LearnerActor).options(
        **{"num_cpus": learning.cpus, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 2, **options}
    )
    return RemoteLearner(actor.remote(), replica, learning)
