"""From a connection to a handler and back: the server, and the kernel that every request passes."""
