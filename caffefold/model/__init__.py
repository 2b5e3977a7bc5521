"""What a net is: layers, versioned blobs, lazy weights."""
