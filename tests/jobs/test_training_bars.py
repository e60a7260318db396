"""What a training says of itself where it is a log."""

import io

from rich.console import Console

from jobs.training_bars import TrainingBars


def test_a_log_has_a_line_at_once_and_one_a_phase_at_the_end():
    written = io.StringIO()
    with TrainingBars(Console(file=written, width=30)) as bars:
        bars.show("forecast", 1, 2_000, "loss 1.000")
        assert written.getvalue() == "forecast  1 of at most 2,000 steps  loss 1.000\n"
        bars.show("forecast", 600, 2_000, "loss 0.400")
        bars.show("residual", 1, 4_000, "loss 0.900")
    assert written.getvalue().splitlines()[1:] == [
        "forecast  600 of at most 2,000 steps  loss 0.400",
        "residual  1 of at most 4,000 steps  loss 0.900",
    ]
