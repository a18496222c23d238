"""Source formats other than the usage record: each module parses one format into candidates for records. No I/O."""
