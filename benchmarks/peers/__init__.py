"""The twenty policies of the made-up fleet, translated by hand for engines that a user would pick."""
