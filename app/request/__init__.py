"""Who asks: one context for each HTTP request, authenticated and counted once."""
