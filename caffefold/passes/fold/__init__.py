"""Deploy net -> folded deploy net: affine maps, who absorbs them, and what is left."""
