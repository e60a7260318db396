"""Two processes never write to one run."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from sadt_ray.runs.lock import only_writer

HOLD = """
import sys, time
from pathlib import Path
from sadt_ray.runs.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_run_that_is_written_to_is_refused_with_its_name(holder, tmp_path):
    with pytest.raises(ValueError, match=f"another process has been writing to {tmp_path}"), only_writer(tmp_path, 0.3):
        pass


def test_a_run_whose_writer_was_killed_is_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_writer(tmp_path, patience=0):
        pass


def test_whoever_waits_gets_the_run_when_its_writer_ends(holder, tmp_path):
    started = time.monotonic()
    holder.terminate()
    with only_writer(tmp_path, patience=30):
        assert time.monotonic() - started < 30


def test_a_file_system_without_locks_keeps_nobody_out(monkeypatch, tmp_path):
    def unsupported(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with only_writer(tmp_path, patience=0):
        pass


def test_a_program_and_the_search_that_it_runs_hold_different_files(holder, tmp_path):
    with only_writer(tmp_path, patience=0, name=".run-lock"):
        pass
