"""PostgreSQL: derived from the event log exactly once, and what Redis is rebuilt from."""
