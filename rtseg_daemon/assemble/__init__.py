"""Assembly: open series become complete, and complete ones become jobs."""
