"""How good contours are: measures, statistics, tables, figures."""
