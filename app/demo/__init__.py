"""Demo catalog and demo records. Deterministic; no I/O."""
