"""What keeps blobs in containers whole: looking, repairing, moving, throwing away what nobody names."""
