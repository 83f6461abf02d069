"""How much sooner a Gram matrix is there when workers share it."""
