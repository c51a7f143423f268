"""The standards that field types name: grammars as code, code lists as frozen tables, the same on every machine.

No library and no system table decides at run time: `generate.py` writes the tables from well-kept libraries, and what
it wrote is committed. A grammar returns None for a value that keeps to it, else what is wrong with it.
"""
