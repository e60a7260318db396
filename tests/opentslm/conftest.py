"""A tiny stage for all tests of the wing."""

import pytest
from tiny_stage import random_stand_in, windows, write_csv


@pytest.fixture(scope="session")
def window_file(tmp_path_factory):
    """24 labelled windows of stage 3 as a CSV."""
    return write_csv(tmp_path_factory.mktemp("data") / "windows.csv", windows(24))


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The directory of a stand-in of stage 3 with random weights."""
    return random_stand_in(tmp_path_factory.mktemp("model") / "random")
