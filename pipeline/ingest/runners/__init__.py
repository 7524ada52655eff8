"""What runs the functions: one interface (`base.Runner`), here on this machine (`local`)."""
