"""The domain and Redis: what stock and holds are, and the scripts that change them. No web, SQL or queue here."""
