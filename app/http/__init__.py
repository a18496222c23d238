"""Parts of every HTTP response: JSON bodies, validators, error envelopes, headers, compression."""
