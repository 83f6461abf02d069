"""The Gram matrix of a store of features: plan, products, run, file."""
