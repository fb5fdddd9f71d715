"""What `embedlake doctor` looks at: facts of the platform are gathered first, and judged apart from that."""
