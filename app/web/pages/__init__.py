"""Pages for people: HTML from templates, scripts and styles from `frontend`. Asks the schema like any client; has no numbers of its own."""
