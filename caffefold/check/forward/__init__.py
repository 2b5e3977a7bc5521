"""A net's forward pass at test time in plain numpy: the reference that models are held against.

Written from Caffe's sources, apart from passes, lowerings and ``ops``: of a layer only the name of
its type is asked there.
"""
