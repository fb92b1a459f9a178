"""The agents of this installation: one file each. What they share lies in evidence/ and data/."""
