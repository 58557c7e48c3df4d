"""Runs notebooks as parameterised jobs; treats notebooks as files and imports no methods."""
