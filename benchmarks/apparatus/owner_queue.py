"""A closed queue in simulated time: workers that always hold a few batches, and one owner whom all batches pass."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Serve = Callable[[int], float]
"""Takes the batch in a slot up, puts the next one there, and says how many seconds that kept the owner."""

_MANY = 5_000


@dataclass(frozen=True)
class Timeline:
    """When everything happened, in seconds. Services in their order; rollouts in the order of their batches' sending.

    Attributes:
        finished, taken_up, sent: [n] a batch came back, the owner began with it, the owner had sent the next one.
        rollout_start, rollout_end: [slots + n] those of the first batches, which the workers held at time 0, included.
    """

    finished: Float[np.ndarray, " n"]
    taken_up: Float[np.ndarray, " n"]
    sent: Float[np.ndarray, " n"]
    rollout_start: Float[np.ndarray, " m"]
    rollout_end: Float[np.ndarray, " m"]


@dataclass(frozen=True)
class Load:
    """How a timeline ran, once under way.

    Attributes:
        batches_per_second: served.
        efficiency: share of the workers' time spent in rollouts: 1 for workers that never wait.
        owner_busy: share of the owner's time.
        median_wait: of a finished batch for the owner, in seconds.
    """

    batches_per_second: float
    efficiency: float
    owner_busy: float
    median_wait: float


def simulate_queue(
    serve: Serve, workers: int, in_flight: int, rollout_seconds: Float[np.ndarray, " m"], services: int
) -> Timeline:
    """Serve batches, first come, first served. Slot s belongs to worker s // in_flight, who runs one after the other.

    Args:
        rollout_seconds: of each batch, in the order in which they are sent; at least workers * in_flight + services.
            The workers are at different points of their first batch when the clock starts.
    """
    slots = workers * in_flight
    starts, ends = np.zeros(slots + services), np.zeros(slots + services)
    finished, taken_up, sent = np.zeros((3, services))
    worker_free, owner_free = [0.0] * workers, 0.0
    done: list[tuple[float, int]] = []

    def send(row: int, slot: int, at: float) -> None:
        worker, seconds = slot // in_flight, float(rollout_seconds[row])
        if row < slots and slot % in_flight == 0:
            seconds *= (worker + 1) / workers
        starts[row] = max(at, worker_free[worker])
        ends[row] = worker_free[worker] = starts[row] + seconds
        heapq.heappush(done, (worker_free[worker], slot))

    for slot in range(slots):
        send(slot, slot, at=0.0)
    for row in range(services):
        finished[row], slot = heapq.heappop(done)
        taken_up[row] = max(finished[row], owner_free)
        sent[row] = owner_free = float(taken_up[row]) + serve(slot)
        send(slots + row, slot, at=owner_free)
    return Timeline(finished, taken_up, sent, starts, ends)


def load_of(timeline: Timeline, workers: int, warm_up: int) -> Load:
    """What happened between service ``warm_up`` and the last one."""
    start, stop = timeline.sent[warm_up - 1], timeline.sent[-1]
    seconds = stop - start
    run = np.minimum(timeline.rollout_end, stop) - np.maximum(timeline.rollout_start, start)
    busy = timeline.sent[warm_up:] - np.maximum(timeline.taken_up[warm_up:], start)
    return Load(
        batches_per_second=float((len(timeline.sent) - warm_up) / seconds),
        efficiency=float(run.clip(min=0).sum() / (workers * seconds)),
        owner_busy=float(busy.sum() / seconds),
        median_wait=float(np.median(timeline.taken_up[warm_up:] - timeline.finished[warm_up:])),
    )


def run_load(
    serve: Serve, workers: int, in_flight: int, mean_seconds: float, spread: float, rng: np.random.Generator
) -> Load:
    """The load under lognormal rollouts: every slot served six times to get under way, three times to be measured.

    Six, for an owner who is a tenth too slow is found out only when the workers' second batches are used up.

    Args:
        mean_seconds: of a batch's rollouts.
        spread: their standard deviation / mean.
    """
    slots = workers * in_flight
    warm_up, measured = max(6 * slots, 200), max(3 * slots, 2_000)
    log_variance = np.log1p(spread**2)
    rollouts = mean_seconds * rng.lognormal(-log_variance / 2, np.sqrt(log_variance), slots + warm_up + measured)
    return load_of(simulate_queue(serve, workers, in_flight, rollouts, warm_up + measured), workers, warm_up)


def saturating_workers(load: Callable[[int], Load], guess: float, efficiency: float = 0.9) -> int:
    """Fewest workers, to within two per cent, whose efficiency falls below ``efficiency``.

    Args:
        guess: seconds of rollouts / seconds of the owner, per batch. So many workers just keep the owner busy. From
            thousands on, efficiency beyond that number is guess / workers, and is not simulated.
    """
    if guess > _MANY:
        return round(guess / efficiency)
    low, high = 0, max(1, round(guess))
    while load(high).efficiency >= efficiency:
        low, high = high, 2 * high
    while high - low > max(1, 0.02 * high):
        middle = (low + high) // 2
        low, high = (middle, high) if load(middle).efficiency >= efficiency else (low, middle)
    return high
