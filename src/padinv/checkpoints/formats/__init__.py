"""Readers of the formats in which other tools keep networks, and what tells them apart."""
