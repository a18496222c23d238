"""Rounding of money at output."""
