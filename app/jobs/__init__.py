"""Background jobs: each runs once at a time over all workers and hosts."""
