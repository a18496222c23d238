"""`python -m app` is `tokengraph`."""

from app.cli.main import main

main()
