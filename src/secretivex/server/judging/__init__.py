"""What workers judge by: the compiled policy, and the counts that all of them share."""
