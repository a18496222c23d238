"""The write: records and rollups in one transaction, exactly once; catalog changes, quarantine, erasure."""
