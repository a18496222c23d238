"""The demo data: a catalog and a stream of records that looks like a router's. Pure and deterministic; it writes nothing."""
