"""Builds notebooks from their paired text and checks what was built."""
