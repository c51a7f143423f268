"""Dead letters: what is known of each, which are meant, and which are settled (pure)."""
