"""The calls of the user API, by subject; client.api puts them together."""
