"""The HTTP application: wiring, ingest endpoints, GraphQL endpoint, pages, health and metrics."""
