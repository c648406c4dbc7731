"""Key providers: what the keyring can be sealed by."""
