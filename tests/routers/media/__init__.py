"""Recordings and media: what is wanted, fetched, kept, and removed again."""
