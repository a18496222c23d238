"""An adversary: hostile requests and connections against a live gateway, while honest callers are timed beside it. `python -m tests.adversary`."""
