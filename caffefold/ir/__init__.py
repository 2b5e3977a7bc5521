"""What a net is: layers over two documents, the versions of its blobs, numbers not yet rounded."""
