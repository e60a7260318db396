"""Why there is no Ray, in one line."""

import pytest

from actors.cluster import RayUnavailable, connect


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeoutError(), "Ray does not start here: TimeoutError"),
        (OSError("no room\nand more"), "Ray does not start here: OSError: no room"),
    ],
)
def test_whatever_ray_raises_becomes_a_line_with_its_reason(monkeypatch, error, message):
    def fail(**options):
        raise error

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", fail)
    with pytest.raises(RayUnavailable) as unavailable:
        connect(None)
    assert str(unavailable.value) == message
