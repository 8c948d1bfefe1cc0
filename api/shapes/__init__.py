"""The shapes of HTTP answers and bodies: what OpenAPI shows, what the server checks and the client reads."""
