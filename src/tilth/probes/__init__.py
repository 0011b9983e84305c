"""Know: small worlds whose truth is known."""
