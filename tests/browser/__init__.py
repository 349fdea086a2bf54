"""What clients and operators see: requests to a running service, and its command line."""
