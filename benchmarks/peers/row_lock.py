"""`row_lock`: the usual design, `SELECT … FOR UPDATE` on the stock row and the hold's row in one transaction."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.litestar_peer import Hold
from benchmarks.peers.sql_store import Connection, SqlStore, serve_store


class RowLock(SqlStore):
    """Stock as a row a SKU."""

    async def take_lines(self, connection: Connection, hold: Hold) -> bool:
        for line in sorted(hold.body.lines, key=lambda line: line.sku):
            available = await connection.fetchval(self.sql["lock_stock"], line.sku)
            if available is None or available < line.quantity:
                return False
            await connection.execute(self.sql["take_stock"], line.sku, line.quantity)
            values = (hold.id, line.sku, line.quantity, hold.body.customer_id, hold.created_at, hold.expires_at)
            await connection.execute(self.sql["insert_hold"], *values)
        return True


if __name__ == "__main__":
    serve_store(RowLock, Path(__file__).with_name("row_lock.sql"))
