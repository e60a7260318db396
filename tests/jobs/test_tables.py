"""Tables stay readable in a narrow terminal."""

from rich.console import Console

from jobs.tables import format_cell, print_table

ROWS = [{"method": "dts", "nfe": 8000.0, "a long name": 0.123456, "crps": None}, {"method": "snis", "nfe": 1.0,
        "a long name": 12.0, "crps": 2.0}]  # fmt: skip


def printed(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(console, ROWS)
    return console.export_text().splitlines()


def test_numbers_have_four_digits_and_nothing_is_a_dash():
    assert [format_cell(v) for v in (0.123456, 8000.0, 12345, None, "x")] == ["0.1235", "8,000", "12,345", "-", "x"]


def test_a_wide_terminal_shows_one_block_and_a_narrow_one_several_that_lose_nothing():
    assert len(printed(80)) == 3
    narrow = printed(22)
    assert len(narrow) == 9
    assert all(len(line.rstrip()) <= 22 for line in narrow)
    for word in ("nfe", "a long name", "crps", "0.1235", "8,000", "-"):
        assert any(word in line for line in narrow)
    assert sum(line.startswith("snis") for line in narrow) == 3
