"""What is said: commands, events, their bytes and the chain that they form.

Pure: no I/O, no clock, no randomness. Imports none of the other three packages.
"""
