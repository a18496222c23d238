"""The bundled PostgreSQL server: install, start, share between processes, stop."""
