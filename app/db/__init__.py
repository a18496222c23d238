"""The database: pools, transactions, models, migrations and the embedded server. No question and no rule of the product."""
