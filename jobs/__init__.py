"""Command-line programs, one ``python -m jobs.NAME`` each: the only place that parses arguments and prints."""
