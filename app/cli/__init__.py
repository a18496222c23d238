"""The `tokengraph` command line: thin commands over the layers below."""
