"""What every HTTP answer is made of: JSON bodies and validators, envelopes of errors, headers, compression.."""
