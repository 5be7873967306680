"""Wrong backward passes, made on purpose."""
