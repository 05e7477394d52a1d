"""Speed, measured: not a part of the package. `python -m benchmarks --only step`."""
