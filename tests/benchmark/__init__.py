"""What the gate costs, side by side with what it replaces."""
