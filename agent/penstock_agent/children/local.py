"""Children of this machine, whoever runs them: a process of the agent, or an instance of a systemd unit."""

from typing import TypeAlias

from penstock_agent.children.child import Child, ProcessSpec
from penstock_agent.children.keeper import Keeper
from penstock_agent.children.units.connection import UnitChild
from penstock_agent.children.units.spec import UnitSpec

LocalSpec: TypeAlias = ProcessSpec | UnitSpec
LocalChild: TypeAlias = Child | UnitChild


async def start(spec: LocalSpec, keeper: Keeper) -> LocalChild:
    """Raises ChildStartError."""
    match spec:
        case UnitSpec():
            return await UnitChild.start(spec)
        case ProcessSpec():
            return await Child.start(spec, keeper)
