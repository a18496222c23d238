"""HTML pages, rendered from templates and the answers of stored GraphQL documents, with scripts and styles built from `frontend`."""
