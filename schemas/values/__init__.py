"""The types of members: text, slugs, dates, ids, references and standard codes, each with its constraints."""
