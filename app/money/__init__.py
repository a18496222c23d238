"""Money: rounding at output, and prices."""
