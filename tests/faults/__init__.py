"""The fault run: the whole system under load, killed, stopped, wiped and cut off, and a checker of what it answered."""
