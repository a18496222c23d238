"""The `usage` root: a question is bound to its caller's scope, covered by sources, compiled to SQL and run."""
