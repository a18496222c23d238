"""Metrics, dimensions and rollups, declared as data; SQL and tables derive from them. No I/O."""
