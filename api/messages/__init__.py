"""Messages: what requests and answers of every noun are made of, and what is refused as a problem (errors.py)."""
