"""Orders as facts: states, identifiers, what venue replies mean, what settles a doubt. Pure."""
