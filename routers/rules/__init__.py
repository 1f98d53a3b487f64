"""Rules: conditions compiled to closures, and a rule set that gives a verdict per rule. Pure, and imports no SQL."""
