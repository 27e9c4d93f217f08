"""What lives as long as a server process: its port, threads, doors, health and generation."""
