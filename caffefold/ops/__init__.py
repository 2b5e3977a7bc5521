"""What a layer type is: one definition for each. The only place that compares ``layer.type``."""
