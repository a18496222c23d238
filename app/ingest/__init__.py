"""Ways in: bytes of any source become records, checked and with their errors told. `write` stores them."""
