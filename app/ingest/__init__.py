"""Ways in and the one write: bytes become records, records become facts and rollups in one transaction."""
