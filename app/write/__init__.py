"""The one write: records become facts and rollups in one transaction, exactly once; what operators change of them and of the catalog."""
