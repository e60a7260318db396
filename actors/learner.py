"""The learner beside the search: an actor that trains all the time, and a tree owner that asks it in passing."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from sadt_ray.flow.flow import Flow
from sadt_ray.learner import Learner, Learning
from sadt_ray.teacher import Lesson

_ASK_EVERY = 0.25  # seconds
_ASK_AGAIN = 2.0  # seconds, after a learner that did not answer
_PAUSE = 0.2  # seconds without anything to learn
_NICE = 10  # it takes what workers leave over, where it has no CPU of its own
_ERRORS = 5  # in a row, after which it is given up


class LearnerActor:
    """What Ray runs: a learner in a thread of its own, so that it answers while it trains, or while it loads.

    One that was killed is made anew, and goes on from its checkpoint.

    Args:
        replica: process, reward and problems, as workers have them.
        learning: what else there is to know.
    """

    def __init__(self, replica: Sequence[Any], learning: Learning) -> None:
        self._replica, self._learning = replica, learning
        self._learner: Learner | None = None
        self._error = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._learn, daemon=True)
        self._thread.start()

    def latest(self, known: int) -> Lesson:
        """At once, whatever the learner is at. ``known``: the version that the caller has, -1 for none."""
        learner = self._learner
        if learner is None:
            return Lesson(None, {}, 0.0, self._error)
        learner.outdo(known)
        flow, age = learner.latest, time.monotonic() - learner.published_at
        return Lesson(flow if flow is not None and flow.version > known else None, learner.figures, age, self._error)

    def finish(self, known: int = -1) -> Lesson:
        """End the training, and publish what there is."""
        self._stop.set()
        self._thread.join()
        if self._learner is not None:
            self._learner.finish()
        return self.latest(known)

    def _learn(self) -> None:
        torch.set_num_threads(1)
        if self._learning.cpus == 0:
            os.nice(_NICE)
        errors = 0
        while not self._stop.is_set() and errors < _ERRORS:
            try:
                if not self._loaded().work():
                    self._stop.wait(_PAUSE)
                errors = 0
            except Exception:
                errors += 1
                self._error = traceback.format_exc(limit=-1).strip().splitlines()[-1]
                self._stop.wait(_ASK_AGAIN)

    def _loaded(self) -> Learner:
        if self._learner is None:
            self._learner = self._learning.begin(*ray.get(self._replica[0]))
        return self._learner


class RemoteTeacher:
    """A ``Teacher`` over a ``LearnerActor``: a question is on its way now and then, and nobody waits for the answer.

    A learner that is dead does not answer, is made anew by Ray, and is asked again.

    Args:
        actor: a ``LearnerActor``.
        known: version of the weights that the search begins with, -1 for none.
    """

    def __init__(self, actor: Any, known: int = -1) -> None:
        self._actor, self._known, self._reply, self._ask_at = actor, known, None, 0.0
        self._lesson, self._heard, self._losses = Lesson(None, {}, 0.0, ""), time.monotonic(), 0

    def news(self) -> Flow | None:
        if self._reply is None:
            if time.monotonic() >= self._ask_at:
                self._reply = self._actor.latest.remote(self._known)
            return None
        if not ray.wait([self._reply], timeout=0)[0]:
            return None
        reply, self._reply = self._reply, None
        try:
            self._lesson = ray.get(reply)
        except RayError:
            self._losses += 1
            self._ask_at = time.monotonic() + _ASK_AGAIN
            return None
        self._heard = time.monotonic()
        self._ask_at = self._heard + _ASK_EVERY
        flow = self._lesson.flow
        if flow is not None:
            self._known = flow.version
        return flow

    def figures(self) -> Mapping[str, float]:
        """The learner's, as it told them last; ``learner_age``: seconds ago; ``learner_losses``: answers lost."""
        age = time.monotonic() - self._heard
        return {**self._lesson.figures, "learner_age": age, "learner_losses": float(self._losses)}


def start_learner(replica: Sequence[Any], learning: Learning, **options: Any) -> Any:
    """Ask Ray for the actor, with ``options`` such as where it lives. It need not be up yet."""
    actor = ray.remote(LearnerActor).options(
        **{"num_cpus": learning.cpus, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 2, **options}
    )
    return actor.remote(replica, learning)
