"""What can be read of calls afterwards: logs, and the names of requests in them."""
