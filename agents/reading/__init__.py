"""Reading: followers of the journal, the rows that they keep, and what can be asked of a partition's rows.

A reading shard follows one journal partition and never owns it: it may be late, stale or gone, and no command waits for
it. The reader's rule runs once per record; the events that count go to *followers*, each of which changes rows of its
own. All rows and positions of one batch are written at once.
"""
