"""The harness: systems that are started, loaded in turns, measured, and held to their promises."""
