"""The one process that serves the API and runs the controller."""
