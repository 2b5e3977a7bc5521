"""Folded net -> the same net in the forms that a consumer takes."""
