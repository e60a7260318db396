"""Tools of the benchmarks of speed: the bare process, ways to continue a text, a simulated owner, made-up results."""
