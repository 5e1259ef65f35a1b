"""Writers: what turns briefs into concepts, one file per writer."""
