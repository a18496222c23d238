"""GraphQL execution: limits, prepared documents, compiled completion, answer cache. Independent of the product: it is given a schema."""
