"""Whose turn it is to remove what is due: one typed function for each statement."""

from uuid import UUID

from service.database.pool import Database, read_query

_INSERT = read_query("insert_removal_turn")
_DELETE = read_query("delete_removal_turn")


async def take_turn(database: Database, process_id: UUID, turn_seconds: float) -> bool:
    """Take the turn, or keep it, for so long; return whether this process has it."""
    parameters = {"process_id": process_id, "turn_seconds": turn_seconds}
    return await database.fetch_one(_INSERT, parameters) is not None


async def give_back_turn(database: Database, process_id: UUID) -> None:
    """Let another process have the turn, if this one has it."""
    await database.execute(_DELETE, {"process_id": process_id})
