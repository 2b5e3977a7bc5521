"""The one place that holds the version; packaging reads it from here without importing."""

VERSION = "0.2.0"
