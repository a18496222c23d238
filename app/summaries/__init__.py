"""Sums of closed days, months and all time, derived from rollups: closing, verification, repair, retention."""
