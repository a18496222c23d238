"""The queries of the documented surfaces: question to plan, plan to SQL, SQL to rows."""
