"""Load clients: what is sent, how it is timed, and what came back."""
