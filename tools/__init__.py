"""Typed, priced, metered tools and the catalogue that holds them."""
