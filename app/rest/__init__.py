"""The documented URLs: each a stored GraphQL document, run against the one schema, and a thin shape around its answer."""
