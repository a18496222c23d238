"""The `tokengraph` command: thin commands over the layers below."""
