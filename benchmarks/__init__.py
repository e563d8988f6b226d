"""Load from the outside: HTTP and SQL only. Run with `python -m benchmarks.<name>`."""
