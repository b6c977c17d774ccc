"""Simulation: what another policy text would have decided otherwise in past cases, and what nobody can know.

Pure: cases in, a report out. A case is followed until the first decision that comes out otherwise; from there on its
history never happened under the new text, so nothing later is claimed of it.
"""

from recoup_core.rules.sets.simulation.plan import SimulationPlan, TextIn
from recoup_core.rules.sets.simulation.report import SimulationReport
from recoup_core.rules.sets.simulation.simulator import Simulator

__all__ = ["SimulationPlan", "SimulationReport", "Simulator", "TextIn"]
