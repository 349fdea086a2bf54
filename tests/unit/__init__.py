"""One module at a time, without a running service and without a database."""
