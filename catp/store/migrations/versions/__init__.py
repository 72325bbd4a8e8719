"""Alembic revisions, oldest first. They never import `catp.store.tables`, which goes on changing."""
