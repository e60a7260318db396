"""Batches grow until calls are long enough and the device is full; deadlines follow what calls take."""

import pytest

from actors.gauges import Gauges
from actors.pacing import BatchSize, Deadline


def settle(size, seconds_of, calls=200):
    """The batch size after many calls on a device that takes ``seconds_of(rows)``."""
    for _ in range(calls):
        size.observe(size.value, seconds_of(size.value))
    return size.value


def test_batches_double_until_a_call_takes_twenty_milliseconds():
    assert settle(BatchSize(16, 4096), lambda rows: rows * 0.25e-3) == 128  # 80 rows take 20 ms


def test_batches_grow_while_the_device_is_not_full():
    """A device that runs up to 512 rows in the time of one."""
    assert settle(BatchSize(16, 4096), lambda rows: 0.1 * max(1, rows / 512)) == 512


def test_a_batch_that_is_long_enough_and_gains_nothing_by_growing_stays():
    assert settle(BatchSize(64, 4096), lambda rows: rows * 1e-3) == 64


def test_batches_never_exceed_the_largest_and_fixed_ones_never_change():
    assert settle(BatchSize(16, 50), lambda rows: 1e-6) == 32
    assert settle(BatchSize(16, 16), lambda rows: 1e-6) == 16


def test_one_slow_call_among_three_does_not_mislead():
    size = BatchSize(16, 64)
    for seconds in (0.001, 5.0, 0.001):
        size.observe(16, seconds)
    assert size.value == 32


def test_calls_of_another_size_teach_nothing():
    size = BatchSize(16, 64)
    for _ in range(10):
        size.observe(7, 0.001)
    assert size.value == 16


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BatchSize(0, 0)


def test_a_deadline_is_long_before_anything_is_known_and_follows_the_longest_of_the_last_hundred_calls():
    deadline = Deadline(first=100.0, shortest=2.0, factor=10.0)
    assert deadline.seconds == 100
    deadline.observe(0.01)
    assert deadline.seconds == 2
    deadline.observe(3.0)
    assert deadline.seconds == 30
    for _ in range(100):
        deadline.observe(0.5)
    assert deadline.seconds == 5


def test_gauges_count_what_happened_since_they_were_read():
    now = [100.0]
    gauges = Gauges(clock=lambda: now[0])
    gauges.batch_submitted(1.0)
    gauges.batch_submitted(0.5)
    gauges.batch_finished(8, 3.0, finished_before=0)
    gauges.batch_finished(4, 1.0, finished_before=0)
    gauges.lost_batches += 1
    now[0] += 4
    read = gauges.read(workers=2, queue_depth=3, batch_size=8)
    assert read == {
        "workers": 2, "utilisation": 0.5, "queue_depth": 3, "batch_size": 8, "batch_fill": 0.75, "staleness": 4.0,
        "lost_batches": 1,
    }  # fmt: skip
    now[0] += 1
    assert gauges.read(2, 0, 8)["utilisation"] == 0
    assert (gauges.tickets_finished, gauges.lost_batches) == (12, 1)
