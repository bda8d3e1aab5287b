"""Who may say what: one rule for each kind of record, asked after its signatures were verified."""
