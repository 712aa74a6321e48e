"""A stage whose network is a released one: its parameters are taken as they are, and nothing is trained."""

from __future__ import annotations

from fsseg_bench.engine.stage_run import TrainedStage
from fsseg_bench.nn.released import Imported


def given_stage(identity: str, network: Imported) -> TrainedStage:
    """What the released ``network`` gives a method, and what the record says of it.

    Args:
        identity: the stage's.
        network: its parameters have the names of the stage's network, which are those of the method's parts.
    """
    facts = {"identity": identity, "trained": "released", "released": network.origin.to_json()}
    return TrainedStage(dict(network.state), facts)
