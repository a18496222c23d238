"""The ways in that speak another format than the usage record's: each turns what it is sent into candidates for records. Pure."""
