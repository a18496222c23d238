"""The GraphQL schema: types, fields and permissions. Resolvers ask `analytics` and shape what it answers; they hold no SQL."""
