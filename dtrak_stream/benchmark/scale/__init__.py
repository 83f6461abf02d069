"""Gram matrix, damping and scores of synthetic stores of growing size, beside their products."""
