"""Answers over all partitions: who has one is asked, here or elsewhere, and what came is merged.

An answer names the positions that it rests on, the partitions that are missing, and those that are behind.
"""
