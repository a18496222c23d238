"""Sums of closed days, months and all time: closing, proof, repair, retention. Derived from the records, and derivable anew."""
