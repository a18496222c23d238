"""Connection pool, transactions, fair shares of connections, models, migrations, partitions."""
