"""The HTTP API of reading, and how its workers ask each other."""
