"""The catalog, identities, single requests and the quarantine as the graph reads them: by keys and by pages, in the reader's scope."""
