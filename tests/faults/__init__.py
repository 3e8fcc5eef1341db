"""Faults F01 to F40 of docs/reliability.md, the gate with its kills, the soak, and the comparison of three clients."""
