"""Deploy net -> a net without channels that do nothing: who they are, and how layers lose them."""
