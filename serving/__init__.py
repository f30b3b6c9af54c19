"""The prediction server: a BentoML service around an own ASGI application."""
