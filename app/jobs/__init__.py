"""What runs by itself beside the server: each job once among all workers and hosts, whoever comes first."""
