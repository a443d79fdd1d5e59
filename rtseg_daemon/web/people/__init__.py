"""Who is there, and what they may: accounts, sessions, tokens, logins, roles."""
