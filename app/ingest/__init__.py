"""Decoding: bytes of any source format to checked records and rejects. `write` stores them."""
