"""Tests that only a method which looks at the model can pass."""
