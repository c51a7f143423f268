"""What is said: commands, events, their bytes and the chain that they form.

Pure: no I/O, no clock, no randomness. Imports none of the other three packages.
"""

if __name__ == "schemas":
    # Under its bare name this would be a second copy of every class, unequal to the first.
    raise ImportError("import annals.schemas: the folder schemas is part of the package annals")
