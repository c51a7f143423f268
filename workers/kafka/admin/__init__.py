"""Administration: topics created and compared with the catalogue, and what the brokers can do."""
