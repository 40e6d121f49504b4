"""How programs speak to the server: HTTP, the API, and where the server is. Standard library and core only."""
