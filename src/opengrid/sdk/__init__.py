"""The Python SDK, on which the command line stands too."""
