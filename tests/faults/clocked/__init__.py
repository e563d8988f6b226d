"""On the Python path of a system under test: Redis' clock, as the engine reads it, can be stepped."""
