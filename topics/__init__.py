"""Where it is said: names, keys, partitions, headers and settings of every topic, as data.

Pure: no I/O, no clock, no randomness. Imports `schemas` only.
"""
