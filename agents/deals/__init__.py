"""What the deal agents share: reading deals, learning from closed ones, pay plans, the managers' page."""
