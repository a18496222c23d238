"""The database: pools, transactions, models, migrations. No question and no rule of the product."""
