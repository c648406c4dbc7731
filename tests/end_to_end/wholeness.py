"""What must hold of the stores whatever befell the processes that wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunacore.records import RecordState, RecordType

if TYPE_CHECKING:
    from lunacore.deployment import Deployment


def check_nothing_half_written(deployment: Deployment, acknowledged: int) -> None:
    """Every record is whole and opens; every object belongs to a record; every value that counts as stored is there."""
    records = [one for one in deployment.records.scan(limit=100_000) if one.header.record_type is RecordType.TOKEN]
    opened = [deployment.tokenizer.lookup.open(one) for one in records]
    stored = [one for one in opened if one.header.state is RecordState.STORED]
    assert len(stored) >= acknowledged
    names = {name for one in opened for name in one.fields.object_names}
    objects = {entry.name for entry in deployment.objects.scan(limit=100_000)}
    assert objects <= names
    assert {one.fields.placement.object_name for one in stored} <= objects
