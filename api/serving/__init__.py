"""Serving: bytes of connections become requests and answers, within bounds; the hottest routes past ASGI."""
