"""What runs nets: one module for each, all behind ``base.Runtime``."""
