"""GraphQL execution made fast, with the standard's results. Knows nothing of usage: it is given a schema and imports nothing of ours."""
