"""Load from the outside: HTTP, SQL and Redis' own counts. Run with `python -m benchmarks.<name>`."""
