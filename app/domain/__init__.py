"""The pure vocabulary of the product: records, windows, callers, money, errors. Standard library only, no I/O."""
