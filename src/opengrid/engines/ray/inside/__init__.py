"""What runs inside a Ray cluster: Python, Ray and nothing else of ours but core and client."""
