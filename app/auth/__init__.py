"""Who may ask: keys, their holders, and the documented limits on how often."""
