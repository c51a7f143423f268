"""What a reading store keeps of its partition: the key spaces, the index of events, and the newest states."""
