"""The HTTP server: wiring, the ways in, health and metrics. Everything that answers a question is in the layers below."""
