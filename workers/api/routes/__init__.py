"""The routes by feature."""
