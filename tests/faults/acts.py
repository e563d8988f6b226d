"""Operations that a fault asks for by itself, to see what is granted while it lasts."""

from __future__ import annotations

from msgspec.structs import replace

from tests.faults.history import Act, Operation
from tests.faults.stage import Stage


def reserve(stage: Stage) -> Operation:
    sku, name = stage.shop.plain[-1], f"{stage.shop.name}-h{stage.asker.history.next_number()}"
    lines = ((sku, 1),)
    body = {"lines": [{"sku": sku, "quantity": 1}], "customer_id": name}
    made = stage.asker.plan(Act.RESERVE, -1, "POST", "/holds", body, mark=name, customer=name, lines=lines)
    return _keyed(stage, made)


async def commit(stage: Stage, held: Operation) -> Operation:
    hold_id = held.granted.id if held.granted is not None else ""
    mark = f"{stage.shop.name}-r{stage.asker.history.next_number()}"
    path, body = f"/holds/{hold_id}/commit", {"reference": mark}
    return await stage.asker.ask(
        _keyed(stage, stage.asker.plan(Act.COMMIT, -1, "POST", path, body, target=hold_id, mark=mark))
    )


def _keyed(stage: Stage, operation: Operation) -> Operation:
    keyed = replace(operation, key=f"{stage.shop.name}-{operation.number}")
    stage.asker.history.begin(keyed)
    return keyed
