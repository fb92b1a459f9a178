"""What the review of open deals is made of: figures, what changed, charts, the page."""
