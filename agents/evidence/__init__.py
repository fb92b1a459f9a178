"""What the enrichment agent knows about evidence: reading it, finding it, weighing it."""
