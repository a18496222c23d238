"""What is measured, by what, and how it is stored: declared once as data. Pure; SQL, types and documents derive from it."""
