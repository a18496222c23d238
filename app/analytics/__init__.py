"""The one read: a question becomes a plan over one rollup, the plan one SELECT, the SELECT rows."""
