"""Use cases behind the API. They meet the controller in the store."""
