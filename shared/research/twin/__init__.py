"""What was lived, fed through the same code once more, and why the account came out differently."""
