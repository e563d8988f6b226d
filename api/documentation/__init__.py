"""Documentation: the OpenAPI document of the routes, and a page of it that needs no network."""
