"""The documented URLs: each runs a stored GraphQL document on the same schema and shapes its answer."""
