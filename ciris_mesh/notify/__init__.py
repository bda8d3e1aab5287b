"""Words from a node to people who are away: messages, alerts, pages. Knows no records."""
