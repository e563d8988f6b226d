"""The process: what it holds while it runs, what watches that, and what it counts and logs."""
