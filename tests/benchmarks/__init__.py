"""The benchmarks' own arithmetic, and the guard that counts what a call costs."""
