"""What is measured beside the worker: programs that do a part of its work and nothing else, run as processes."""
