"""HTTP: routes that parse a request, call a use case and present its result."""
