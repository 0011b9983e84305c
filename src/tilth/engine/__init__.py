"""Run: storage, parallel work, resume, statistics. Knows no method by name."""
