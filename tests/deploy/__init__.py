"""`make verify-deploy`: everything under deploy/, run by the tools it is made for."""
