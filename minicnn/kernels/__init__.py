"""Stateless array functions: forward and gradients side by side, without layers or classes."""
