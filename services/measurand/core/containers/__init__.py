"""Data containers: the places that blobs are spread over, and what lies where."""
