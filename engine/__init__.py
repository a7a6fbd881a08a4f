"""Machinery that is seldom opened: one concern a file."""
