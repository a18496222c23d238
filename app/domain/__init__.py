"""The vocabulary: usage record, time ranges, calendar, principals, errors. Standard library only, no I/O."""
