"""The API as its clients see it: a real process, a real socket."""
