"""HTTP: Litestar routes, one noun a file; what is refused becomes a problem in one place (api/messages/errors.py)."""
