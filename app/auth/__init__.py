"""API keys, authentication, rate limits and point budgets."""
