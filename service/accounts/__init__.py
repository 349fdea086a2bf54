"""The use cases of users without HTTP: who may become one, whose a token is, and what all may hold together."""
