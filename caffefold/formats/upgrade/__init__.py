"""Caffe's older formats become today's: one table of facts, a text and a wire writer."""
