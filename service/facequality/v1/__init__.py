"""Generated from proto/facequality/v1: never edited; `make proto` writes it."""
