"""Why a flow does not end, and whether everything stored is in order."""
