"""Each workflow turns options into a Plan; the engine does the rest."""
