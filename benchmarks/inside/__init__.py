"""The one exception to seeing the system from the outside: what the engine can do without HTTP in front of it."""
