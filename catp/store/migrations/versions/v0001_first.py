"""The first layout: made by catp before it used Alembic, and never by this revision."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Refuse: nothing older than this layout exists."""
    raise NotImplementedError("there is no layout before 0001")
