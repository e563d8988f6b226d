"""`unit_rows`: one row a unit, taken with `FOR UPDATE SKIP LOCKED`, so that buyers of one SKU do not wait in line."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.litestar_peer import Hold
from benchmarks.peers.sql_store import Connection, SqlStore, serve_store


class UnitRows(SqlStore):
    """Stock as a row a unit."""

    async def take_lines(self, connection: Connection, hold: Hold) -> bool:
        for line in hold.body.lines:
            rows = await connection.fetch(self.sql["lock_units"], line.sku, line.quantity)
            if len(rows) < line.quantity:
                return False
            await connection.execute(self.sql["take_units"], [row["id"] for row in rows], hold.id)
        values = (hold.id, hold.body.customer_id, hold.created_at, hold.expires_at)
        await connection.execute(self.sql["insert_hold"], *values)
        return True


if __name__ == "__main__":
    serve_store(UnitRows, Path(__file__).with_name("unit_rows.sql"))
