"""The HTTP API of the role `read`: routes as data, and the kernel that serves, checks and describes them."""
