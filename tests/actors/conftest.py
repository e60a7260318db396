"""One small Ray cluster for all tests of the actors."""

import os

import pytest

os.environ["RAY_AUTH_MODE"] = "disabled"  # loopback only
os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112
os.environ["RAY_metrics_report_interval_ms"] = "500"  # noqa: SIM112


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A local cluster with four logical CPUs. Its sockets want a short path, which pytest's own is not."""
    import tempfile

    import ray

    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as directory:
        ray.init(
            "local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=directory,
        )
        yield ray
        ray.shutdown()
