"""Peers: other designs of the same service, measured beside it. Each runs as `python -m benchmarks.peers.<name>`."""
