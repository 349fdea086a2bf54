"""The use cases without HTTP: admit an upload, take it, keep it, remove what is left over."""
