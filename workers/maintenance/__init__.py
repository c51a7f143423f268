"""What lies in the journals, type by type and version by version: counted, read through the upcasters, cached anew."""
