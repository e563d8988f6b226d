"""Numbered SQL files, applied in order by persistence/migrate.py and never changed afterwards."""
