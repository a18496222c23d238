"""Any question about usage: from a frozen value, bound to its caller's scope, to the rows that answer it."""
