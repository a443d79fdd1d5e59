"""The dashboard: pages, their REST twin, and the people who may see them."""
