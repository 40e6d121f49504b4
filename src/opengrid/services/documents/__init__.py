"""The documents that the user API answers, by subject. Their fields are the stable JSON of the API and of `-o json`.

Times are ISO 8601 in UTC. The types of the page and of the client are generated from these classes.
"""
