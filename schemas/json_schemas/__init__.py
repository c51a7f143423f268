"""JSON Schema 2020-12 of everything on the wire, and how two versions of a schema differ."""
