"""The use cases without HTTP: how an upload is admitted, taken, kept and removed."""
