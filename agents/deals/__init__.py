"""What the deal agents share: reading deals, the closed deals to compare with, pay plans."""
