"""HTTP: routes that parse, call and present."""
