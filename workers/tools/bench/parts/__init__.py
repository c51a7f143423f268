"""The measurements, in the order of RESULTS.md: each a function from a ground and a plan to what it found."""
