"""One module for each resource, and the table that maps addresses to them."""
