"""How stores of older layouts are brought to today's: Alembic revisions, run by `catp.store.versions`.

To change a table: change `catp.store.tables`, add a revision to `versions/`, and name it in `catp.store.versions.HEAD`.
A revision that does not carry projections over (see `catp.store.tables`) has `catp.store.versions` rebuild them.
"""
