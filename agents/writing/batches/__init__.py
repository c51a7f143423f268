"""A batch of commands, decided: from their records to the records of one transaction. Nothing here waits."""
