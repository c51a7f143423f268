"""Jobs of a worker that reads: their topic, and the replays that are asked for over HTTP."""
