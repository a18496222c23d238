"""Lists and look-ups of the catalog, identities, single requests and the quarantine, by key and by page, in the caller's scope."""
