"""All of RQ: its data model, our own claim, finish and recovery scripts, and nothing of its worker loop."""
