"""The PostgreSQL that comes with the product: made, started, shared by several processes, stopped by the last. No SQL."""
