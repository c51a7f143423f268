"""Questions to one partition's rows, each on a view: what is returned is read again, CIDs and links computed anew."""
