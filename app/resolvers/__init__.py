"""The GraphQL schema: types, fields, permissions, loaders. No SQL."""
