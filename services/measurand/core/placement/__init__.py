"""Where blobs go: policies, and the functions that choose containers."""
