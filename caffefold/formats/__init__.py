"""Bytes and text <-> documents. Knows Caffe's files, not its graphs."""
