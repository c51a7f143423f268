"""Typed data of commands and events: its validation, its stored forms and its upcasters."""
