"""Jobs of a worker that reads: their topic, and the replays and long decisions that are asked for over HTTP."""
