"""Tokengraph: a self-hosted GraphQL analytics gateway for LLM routers."""

__version__ = "0.1.0"
