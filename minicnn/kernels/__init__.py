"""Stateless array functions: forward and gradients side by side, no layers, no classes."""
