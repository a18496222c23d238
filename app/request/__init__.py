"""The context of an HTTP request: authenticated once, counted once, with the services of the process."""
